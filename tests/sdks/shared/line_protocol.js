// The line protocol of the Node drivers: one JSON command a line in, one JSON answer a line out, in order.
// What a driver brings is an object with one function a command; see ../README.md for the commands.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { isDeepStrictEqual } = require('node:util');

const { LogWatcher } = require('./log_watcher.js');

// How often a wait looks at the SDK's own state. A condition is polled, nothing sleeps blindly.
const LOOK_EVERY_MS = 10;

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

/** The version of an installed package; not every one exports its package.json. */
function versionOf(name) {
  const root = path.join(process.env.NODE_PATH, name, 'package.json');
  return JSON.parse(fs.readFileSync(root, 'utf8')).version;
}

/**
 * Reads commands until standard input ends. `commands` maps a command's name to an async function; `atEnd` is what is
 * to be done before the process ends.
 */
function serve(sdk, version, commands, atEnd = async () => {}) {
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
    last.then(atEnd).finally(() => process.exit(0));
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
 * SDK, `state(command)` the driver's state.
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
    async 'wait-ready'(command) {
      const look = async () => ({ met: (await state(command)).ready });
      return { ready: (await until(look, command.timeoutMs)).met };
    },
    async 'wait-state'(command) {
      const seen = await until(async () => {
        const now = await state(command);
        return { met: meets(now, command), now };
      }, command.timeoutMs);
      return { matched: seen.met, ...seen.now };
    },
    async state(command) {
      return state(command);
    },
  };
}

module.exports = { serve, versionOf, waits, until, LogWatcher };
