//! Settings of usage events.
//!
//! Must contain definitions only.

use crate::config::definition::{Definition, Key, Kind, Section, bytes, count, define, seconds};

pub(super) const DEFINITIONS: &[Definition] = &[
    define(Key::ForwardEvents, "ForwardEvents", Kind::Flag, "true", Section::Events).help(
        "Whether usage events are forwarded to EventUri: short for Events__Mode=forward and Events__Mode=drop. Without \
             EventUri they are dropped, with one warning at start; if this setting is given explicitly, EventUri is \
             required.",
    ),
    define(Key::EventUri, "EventUri", Kind::Uri(&["http", "https"]), "", Section::Events)
        .common()
        .needed("the modes forward and pseudonymize; ForwardEvents, if that is given explicitly")
        .help(
            "Where usage events go, such as `http://evaluation-server:5100`. It may be another agent. It is reached with \
             the certificates and the proxy of the settings `Upstream__…`.",
        ),
    define(Key::EventsMode, "Events__Mode", Kind::EventsMode, "", Section::Events)
        .common()
        .default_note("`forward` with EventUri, else `drop`")
        .help(
            "What happens to usage events. `forward` sends them to EventUri as they are, `pseudonymize` sends them without \
             what identifies a user, `local` keeps them in files on this machine and sends nothing, `drop` counts and \
             drops them. docs/events.md says what leaves the machine.",
        ),
    define(Key::EventsOverrides, "Events__Overrides", Kind::EventsOverrides, "", Section::Events).help(
        "Other modes for single environments, such as `shop:prod=pseudonymize;shop:dev=drop`. An environment is named by \
             its project's and its own key, or by its id. Also as pairs `Events__Overrides__0__Environment` and \
             `Events__Overrides__0__Mode`, and so on.",
    ),
    define(Key::EventsDirectory, "Events__Directory", Kind::Path, "", Section::Events)
        .needed("the mode local")
        .default_note("in memory only")
        .help(
            "A folder for usage events: what waits to be sent, the files of the mode local, and what the server has \
             rejected. With it, a call is answered only when its events are on the disk, and no restart loses them. It is \
             created if it is missing, and is readable by its owner only. Each agent needs a folder of its own.",
        ),
    define(Key::EventsPseudonymKey, "Events__PseudonymKey", Kind::Secret, "", Section::Events)
        .needed("the mode pseudonymize, without a file for it and without Events__Directory")
        .help(
            "The key from which pseudonyms are made: at least 32 characters, best at random. Agents whose events are \
             counted together need the same one, or a user counts once for each of them. Whoever has it can find the \
             pseudonym of a user.",
        ),
    define(Key::EventsPseudonymKeyFile, "Events__PseudonymKey__File", Kind::Path, "", Section::Events)
        .default_note("`pseudonym.key` in Events__Directory")
        .help(
            "A file that contains only Events__PseudonymKey. If it does not exist, the agent makes it at the start, with a \
             random key, readable by its owner only. Back it up: with another key all users are new ones.",
        ),
    define(Key::EventsProperties, "Events__Properties", Kind::EventProperties, "", Section::Events).help(
        "The custom properties of users that the mode pseudonymize lets pass, such as \
             `plan;email=domain;age=range:10`: `keep` (the default), `hash`, `range:N` for numbers, `domain` of an e-mail \
             address, `network` of an IP address, `country` of a locale. All others are dropped.",
    ),
    define(Key::EventsQueueBytes, "Events__QueueBytes", bytes(64 << 10, 1 << 34), "16777216", Section::Events).help(
        "How much memory usage events may take while they wait: those that were received and not yet written or, without \
             Events__Directory, not yet sent. Beyond it calls are answered with 503.",
    ),
    define(Key::EventsSpoolBytes, "Events__SpoolBytes", bytes(16 << 20, 1 << 40), "1073741824", Section::Events).help(
        "How much disk the events that wait to be sent may take in Events__Directory. Beyond it the oldest are dropped and \
             counted.",
    ),
    define(Key::EventsSpoolDays, "Events__SpoolDays", count(1, 3650), "7", Section::Events).help(
        "How many days events may wait in Events__Directory to be sent. After that they are dropped and counted.",
    ),
    define(
        Key::EventsRequestBytes,
        "Events__RequestBytes",
        bytes(16 << 10, 30_000_000),
        "1048576",
        Section::Events,
    )
    .help(
        "How large the body of a request to EventUri may be, before compression. A larger single event is sent alone.",
    ),
    define(Key::EventsRequestEvents, "Events__RequestEvents", count(1, 100_000), "1000", Section::Events)
        .help("How many events a request to EventUri may have."),
    define(Key::EventsFlushSeconds, "Events__FlushSeconds", seconds(0, true), "1", Section::Events).help(
        "How long events wait for others to be sent with them. A full request is sent at once.",
    ),
    define(Key::EventsGzip, "Events__Gzip", Kind::Flag, "false", Section::Events).help(
        "Whether requests to EventUri are compressed. Only for a server that reads compressed bodies, such as another \
             agent.",
    ),
    define(Key::EventsTimeoutSeconds, "Events__TimeoutSeconds", seconds(100, false), "10", Section::Events).help(
        "How long a request to EventUri may take, from opening the connection to the answer.",
    ),
    define(Key::EventsRetrySeconds, "Events__RetrySeconds", seconds(1000, false), "60", Section::Events).help(
        "The longest pause between two attempts to send the events of an environment, unless the server asks for a longer \
             one by `Retry-After`.",
    ),
    define(
        Key::EventsLocalFileBytes,
        "Events__LocalFileBytes",
        bytes(64 << 10, 1 << 40),
        "67108864",
        Section::Events,
    )
    .help("At this size a file of the mode local is closed and compressed, and the next one begins."),
    define(Key::EventsLocalBytes, "Events__LocalBytes", bytes(1 << 20, 1 << 44), "1073741824", Section::Events).help(
        "How much disk all files of the mode local may take. Beyond it the oldest are removed and counted.",
    ),
    define(Key::EventsLocalDays, "Events__LocalDays", count(1, 36_500), "30", Section::Events)
        .help("How many days the files of the mode local are kept."),
    define(
        Key::EventsDeadLetterBytes,
        "Events__DeadLetterBytes",
        bytes(64 << 10, 1 << 36),
        "16777216",
        Section::Events,
    )
    .help(
        "How large the file of events that the server has rejected may be, in Events__Directory. When it is full, it \
             replaces the one before it.",
    ),
];
