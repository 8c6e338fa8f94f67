//! Closed choices of the domain as values of flags: the same names as in a scenario, each with its line of help.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::domain::{DescriptorTables, EngineKind, PortChoice, Service};

macro_rules! value_enum {
    ($kind:ty { $($variant:ident => $help:literal),+ $(,)? }) => {
        impl ValueEnum for $kind {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let help = match self { $(Self::$variant => $help),+ };
                Some(PossibleValue::new(self.name()).help(help))
            }
        }
    };
}

value_enum!(EngineKind {
    Epoll => "epoll(7), one thread for each descriptor table",
    Tokio => "tokio tasks, one runtime for each descriptor table",
});

value_enum!(DescriptorTables {
    Many => "One for each thread, as many as the limit asks for",
    One => "One for the process, as an ordinary program has it",
});

value_enum!(Service {
    Queue => "Never accept: connections stay in the accept queue",
    Accept => "Accept, watch nothing and read nothing. A sweep every 3 s finds connections that have ended",
    Silent => "Accept and notice the end of a connection, and read nothing",
    Echo => "Accept, read, and send back every byte",
});

value_enum!(PortChoice {
    Explicit => "Each by bind(2)",
    Range => "By the kernel out of a range (Linux 6.8)",
    NoPort => "By the kernel at connect(2)",
    Kernel => "By the kernel at bind(2), as most programs do",
});
