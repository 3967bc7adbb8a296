//! The text of `--help`.

/// Every flag, variable and exit code of the daemon.
pub const HELP: &str = "\
clawdis-gateway - one daemon that owns your messaging surfaces and runs your agent

Usage: clawdis-gateway [FLAGS]

Where it listens
  --port N              TCP port, 0 for any free one      [CLAWDIS_GATEWAY_PORT, default 18789]
  --bind ADDR           IP address to listen on; may be given several times  [default 127.0.0.1]
                        One that is not a loopback address needs a token; loopback is
                        served beside it.
  --max-clients N       connections at a time                                [default 2048]
  --tick-interval-ms N  milliseconds between two keep-alive events           [default 30000]

Who may connect
  --token-file FILE     a file that holds the token that clients must send; a new one that is
                        written there counts at once
  --token TOKEN         the token itself                  [CLAWDIS_GATEWAY_TOKEN]
                        Prefer the file or the variable: a shell keeps what is typed.

What it runs and keeps
  --agent SPEC          pi, builtin:echo (a small demo) or a JSON array: a program and its first
                        arguments                         [CLAWDIS_AGENT, default: no agent]
  --state-dir DIR       where everything is kept          [CLAWDIS_STATE_DIR, default ~/.clawdis]
  --config FILE         the configuration                 [CLAWDIS_CONFIG, default clawdis.json
                        in the state folder]

What it says
  --check-config        say whether flags, environment and configuration are good, and end
  --log-format FORMAT   text or json                                         [default text]
  -v, --verbose         say more    [RUST_LOG chooses by module: clawdis_gateway::net=debug]
  -h, --help            this text
  -V, --version         the version

A flag counts more than its variable, a variable more than the configuration. Channels also read
TELEGRAM_BOT_TOKEN and CLAWDIS_TELEGRAM_API_BASE.

Exit codes
  0  stopped by SIGTERM, SIGINT or SIGHUP
  1  failed while running
  2  wrong usage or configuration: starting it again will not help
  3  another gateway holds the state folder or the port

Example: a gateway with the demo agent, then a question to it from another shell
  clawdis-gateway --agent builtin:echo
  clawdis agent \"hello\"
";
