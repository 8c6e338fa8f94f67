//! The vocabulary of the lab: units, addresses, phases, worker specs, samples and events. Types and arithmetic, no I/O.

mod address;
mod budget;
mod choice;
mod conversation;
mod count;
mod ends;
mod engine;
mod event;
mod exit;
mod facts;
mod failure;
mod figure;
mod id;
mod limit;
mod phase;
mod quantity;
mod reading;
mod result;
mod sample;
mod setting;
pub mod socket_objects;
mod stage;
mod subject;
mod summary;
mod task;
mod text;
mod verdict;
mod worker;

pub use address::{FourTuples, PORTS_PER_SOURCE, PortRange, PortRangeError, Shard};
pub use budget::{Binding, BudgetRow, Shortfall};
pub use choice::{
    Acceptors, DescriptorTables, EngineKind, NetworkDriver, PlaceKind, PlaceMaking, PortChoice,
    ProtocolKind, RemainingOnLoss, ReportFormat, Role, Service, VerifyShare,
};
pub use conversation::{
    Conversation, ConversationError, HttpHeader, HttpRequest, MOST_STEPS, Script, ScriptStep,
    check_header_name, check_header_value, check_path, check_status,
};
pub use count::{ConnCount, ConnRate};
pub use ends::Ends;
pub use engine::{
    EngineCost, LARGEST_TABLE, RESERVED_DESCRIPTORS, connections_per_table, table_size, tables_for,
};
pub use event::{
    Envelope, Mark, NetworkChoice, PhaseTime, PlaceChoice, RunEvent, Settling, StateCounts,
    TcpState, Verification,
};
pub use exit::{exit_text, signal_text};
pub use facts::{
    CgroupLimit, ConntrackFacts, DescriptorFacts, DockerFacts, HostFacts, MemoryFacts, NetFacts,
    ObjectSize, ObjectSizes, SizeSource, UserNamespaceFacts,
};
pub use failure::{ClosingSign, ConnectFailure, HttpFault, LossReason};
pub use figure::{Bound, Figure, FigureUnit, Part, Percentile, Side, Use};
pub use id::{HostIndex, RunId, WorkerId};
pub use limit::{GaveWay, LimitSearch};
pub use phase::Phase;
pub use quantity::{Bytes, Limit, Pages};
pub use reading::{Gap, Reading};
pub use result::{
    AttributionRow, Connections, MemoryBasis, MemoryResult, MemorySide, PerConnection, Proof,
    RampResult, RowSource, RunResult, ServerResult, SettingResult, ThresholdKind, ThresholdResult,
    Unanswered,
};
pub use sample::{
    CgroupSample, ConntrackSample, CpuTicks, KernelMessage, MemInfo, NamespaceSample,
    ProcessSample, Sample, SlabCache, SocketStat, TcpCounters, WorkerGap,
};
pub use setting::{RestoreOutcome, SettingChange, SettingRecord, SettingScope, SettingValue};
pub use stage::{Stage, hold_of, verify_of, verify_rate_of};
pub use subject::{
    AcceptState, CommandSubject, DescriptorUse, ImageSubject, ListenQueue, StartOptions, Subject,
    SubjectFacts, SubjectSpec, TreeRoot, TreeSample,
};
pub use summary::{RunSummary, Threshold, WorkerSummary};
pub use task::{Load, Task, VerifyReport, WrongAnswer};
pub use text::{ByteText, LONGEST_TEXT, Piece, Template, TextError};
pub use verdict::RunVerdict;
pub use worker::{
    ClientSpec, Counters, FailureNote, Keepalive, LatencyCounts, LossNote, Opening, PlannedWorker,
    ServerSpec, WorkerSpec,
};
