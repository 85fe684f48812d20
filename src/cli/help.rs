//! The texts of help that no definition holds.
//!
//! Must not describe a setting: the table does.

pub(super) const ABOUT: &str = "A relay between a FeatBit server and FeatBit SDKs";

pub(super) const LONG_ABOUT: &str = "A relay between a FeatBit server and FeatBit SDKs: it keeps flags in memory and \
serves them over WebSocket streaming and HTTP polling. Without a command it runs.

Every option below is also an environment variable (the name after env:, in upper or lower case) and a name in the file that \
--config names. The command line goes over the environment, the environment over the file.";

pub(super) const SHORT_END: &str = "--help shows every setting, examples, exit codes and signals.";

pub(super) const LONG_END: &str = "\
Examples:
  featbit-agent --streaming-uri ws://evaluation-server:5100 --agent-id edge-1 --api-key-file key
      Follow a FeatBit server (agent mode, the default).
  featbit-agent --mode offline --data-file examples/demo.json
      Serve a dump, and every change of it.
  Mode=offline ApiKey__File=/run/secrets/key ASPNETCORE_URLS=http://+:6100 featbit-agent
      Serve what FeatBit's \"Sync\" sends.
  featbit-agent check --config agent.toml
      Show what the settings come to, and whether the data file can be served.
  featbit-agent health
      Ask the running agent whether it is ready, as a container's health check does.
  featbit-agent pull --streaming-uri wss://featbit.example --api-key-file key --out dump.json
      Take a dump along to where no server can be reached.

Exit codes:
   0  Done; for health: ready.
   1  health: not ready, or no answer.
  64  The command line is not understood.
  65  check: the data file cannot be served; pull: what the server sent cannot.
  69  pull: the server cannot be reached, or did not answer.
  73  pull: the dump cannot be written.
  74  Standard output cannot be written; the answer is lost.
  77  pull: the server refuses the key.
  78  The settings cannot be used; all that is wrong is on standard error.
  Any other code: the agent could not start or go on, and said why on standard error.

Signals:
  SIGTERM, SIGINT, SIGQUIT
      For Shutdown__DelaySeconds, readiness answers 503 and all else goes on. Then stop accepting, finish responses, close \
WebSockets with 1001 over Shutdown__DrainSeconds, and end. A second one ends at once, with 128 + its number.
  SIGHUP
      Ask the server for everything again; offline, read the data file again. Read the files of TLS and of keys again. \
Connections stay.
  SIGUSR1, SIGUSR2
      Change nothing.

Logs go to standard output. NO_COLOR turns colours off.";
