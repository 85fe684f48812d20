// The line protocol of the Node drivers: one JSON command a line in, one JSON answer a line out, in order.
// What a driver brings is an object with one function a command; see ../README.md for the commands.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { isDeepStrictEqual } = require('node:util');

// How often a wait looks at the SDK's own state. A condition is polled, nothing sleeps blindly.
const LOOK_EVERY_MS = 10;
const LINES_KEPT = 20;

const answers = process.stdout;

function say(message) {
  answers.write(JSON.stringify(message) + '\n');
}

/** Resolves to `{met, result}` as soon as `look()` gives `{met: true, result}` or the time is over. */
async function until(look, timeoutMs) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (seen.met || Date.now() >= end) {
      return seen;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/**
 * What can be seen of a connection from the SDK's own log lines, which is all that Node SDKs show of it:
 * both print the same texts. `stopped` means: closed, and no intention to come back was announced.
 */
class LogWatcher {
  constructor() {
    this.connects = 0;
    this.closes = 0;
    this.retries = 0;
    this.connected = false;
    this.errors = [];
    for (const level of ['debug', 'info', 'warn', 'error']) {
      this[level] = (...words) => this.line(level, words.map(String).join(' '));
    }
  }

  line(level, text) {
    if (text.includes('WebSocket connection succeeded')) {
      this.connects += 1;
      this.connected = true;
    } else if (text.includes('WebSocket closed')) {
      this.closes += 1;
      this.connected = false;
    } else if (text.includes('will try to reconnect in')) {
      this.retries += 1;
    }
    if (level === 'warn' || level === 'error') {
      this.errors.push(text);
      this.errors.splice(0, this.errors.length - LINES_KEPT);
    }
  }

  get stopped() {
    return this.closes > this.retries;
  }
}

/** The version of an installed package; not every one exports its package.json. */
function versionOf(name) {
  const root = path.join(process.env.NODE_PATH, name, 'package.json');
  return JSON.parse(fs.readFileSync(root, 'utf8')).version;
}

/** Reads commands until standard input ends. `commands` maps a command's name to an async function. */
function serve(sdk, version, commands) {
  // SDKs log to the console by default; standard output belongs to the answers alone.
  console.log = console.info = console.debug = console.warn = console.error;
  const lines = readline.createInterface({ input: process.stdin });
  let last = Promise.resolve();
  const answer = async (line) => {
    let id = null;
    try {
      const command = JSON.parse(line);
      id = command.id ?? null;
      const run = commands[command.cmd];
      if (!run) {
        throw new Error(`unknown command: ${command.cmd}`);
      }
      say({ id, ok: true, ...(await run(command)) });
    } catch (error) {
      say({ id, ok: false, error: String(error && error.stack ? error.stack : error) });
    }
  };
  lines.on('line', (line) => {
    last = last.then(() => answer(line));
  });
  lines.on('close', () => {
    last.finally(() => process.exit(0));
  });
  say({ ready: true, sdk, version });
}

/** Whether `now` has what is `wanted`: flags equal, counters (and the number of posts) at least that high. */
function meets(now, { ready, stopped, connected, connects, posts }) {
  return (
    (ready === undefined || now.ready === ready) &&
    (stopped === undefined || now.stopped === stopped) &&
    (connected === undefined || now.connected === connected) &&
    (connects === undefined || now.connects >= connects) &&
    (posts === undefined || now.posts.length >= posts)
  );
}

/**
 * The commands that follow from what every driver has: `variation(command)` gives `{value, reason}` of the
 * SDK, `state()` the driver's state.
 */
function waits(variation, state) {
  return {
    async variation(command) {
      return variation(command);
    },
    async 'wait-value'(command) {
      const seen = await until(async () => {
        const { value, reason } = await variation(command);
        return { met: isDeepStrictEqual(value, command.value), value, reason };
      }, command.timeoutMs);
      return { matched: seen.met, value: seen.value, reason: seen.reason };
    },
    async 'wait-ready'({ timeoutMs }) {
      return { ready: (await until(() => ({ met: state().ready }), timeoutMs)).met };
    },
    async 'wait-state'({ timeoutMs, ...wanted }) {
      const seen = await until(() => {
        const now = state();
        return { met: meets(now, wanted), now };
      }, timeoutMs);
      return { matched: seen.met, ...seen.now };
    },
    async state() {
      return state();
    },
  };
}

module.exports = { serve, versionOf, waits, until, LogWatcher };
