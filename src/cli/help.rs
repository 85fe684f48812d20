//! Help texts that do not belong to a setting.
//!
//! Must not describe a setting: the table does.

pub(super) const ABOUT: &str = "A relay between a FeatBit server and FeatBit SDKs";

pub(super) const LONG_ABOUT: &str = "A relay between a FeatBit server and FeatBit SDKs: it keeps flags in memory and \
serves them over WebSocket streaming and HTTP polling. Without a command it runs.

Every option below is also an environment variable (the name after env:, in upper or lower case) and a name in the file that \
--config names. The command line overrides the environment, and the environment overrides the file.";

pub(super) const SHORT_END: &str = "--help shows every setting, examples, exit codes and signals.";

pub(super) const LONG_END: &str = "\
Examples:
  featbit-agent --streaming-uri ws://evaluation-server:5100 --agent-id edge-1 --api-key-file key
      Follow a FeatBit server (agent mode, the default).
  featbit-agent --mode offline --data-file examples/demo.json
      Serve a dump, and load it again when it changes.
  Mode=offline ApiKey__File=/run/secrets/key ASPNETCORE_URLS=http://+:6100 featbit-agent
      Serve what FeatBit's \"Sync\" sends.
  featbit-agent check --config agent.toml
      Show the effective settings, and whether the data file can be served.
  featbit-agent health
      Ask the running agent whether it is ready, for a container's health check.
  featbit-agent pull --streaming-uri wss://featbit.example --api-key-file key --out dump.json
      Write a dump, to be served where no server can be reached.
  featbit-agent events stats --directory /data/events --since 7d
      Add up the usage events of the mode local.
  featbit-agent events preview --events-properties 'plan;age=range:10'
      Show what the mode pseudonymize makes of usage events.

Exit codes:
   0  Success; health: ready.
   1  health: not ready, or no answer.
  64  The command line is wrong.
  65  check: the data file cannot be served; pull: the server's data cannot be used.
  69  pull: the server cannot be reached, or did not answer.
  73  pull: the dump cannot be written.
  74  Standard output cannot be written, so the output is lost.
  77  pull: the server refuses the key.
  78  The settings cannot be used; all errors are on standard error.
  Any other code: the agent could not start or had to end; the reason is on standard error.

Signals:
  SIGTERM, SIGINT, SIGQUIT
      For Shutdown__DelaySeconds, readiness answers 503 and everything else works as before. Then stop accepting, finish \
responses, close WebSockets with 1001 over Shutdown__DrainSeconds, and exit. A second signal ends the agent at once, with \
128 + its number.
  SIGHUP
      Request a full sync from the server; in offline mode, read the data file again. Read the TLS files and the key files \
again. Connections stay open.
  SIGUSR1, SIGUSR2
      Are ignored.

Logs go to standard output. NO_COLOR turns colours off.";
