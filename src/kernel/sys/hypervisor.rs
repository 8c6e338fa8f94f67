//! Which hypervisor is below: the signature in leaf 0x40000000 of CPUID, where the hypervisor bit is set. Other architectures
//! have no such instruction, and a process there is told nothing.

/// The signature of QEMU's emulator (`target/i386/cpu.c` of QEMU): each instruction is translated, none runs by itself.
pub const EMULATOR: &str = "TCGTCGTCGTCG";

/// The signature, such as `KVMKVMKVM`; nothing on bare metal, or where this architecture does not tell.
#[must_use]
pub fn signature() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        const HYPERVISOR_BIT: u32 = 1 << 31;
        // Compilers from 1.94 on call this instruction safe; older ones do not.
        #[allow(unused_unsafe)]
        // SAFETY: every x86_64 processor has CPUID with leaf 1, and leaf 0x40000000 is asked only where a hypervisor says that
        // it is there. The instruction reads no memory.
        let leaf = unsafe { (__cpuid(1).ecx & HYPERVISOR_BIT != 0).then(|| __cpuid(0x4000_0000)) }?;
        let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_end_matches('\0').to_owned())
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

#[cfg(test)]
mod tests {
    /// The second witness is the flag that the kernel shows.
    #[test]
    fn a_signature_is_there_exactly_where_the_kernel_sees_a_hypervisor() {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").expect("readable");
        let flag = cpu
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(super::signature().is_some(), flag);
        }
    }
}
