// Drives @featbit/js-client-sdk by the commands of ../README.md. It has one current user.
'use strict';

const browser = require('./browser.js');
browser.install();

const { serve, versionOf, waits, until, LogWatcher } = require('../shared/line_protocol.js');
const { FbClientBuilder, DataSyncModeEnum } = require('@featbit/js-client-sdk');

// Renewed at each start: what a stopped client still says does not count for its successor.
let logs = new LogWatcher();
let client = null;
let updates = [];
let current = null;
// A polling browser SDK never comes back from its first failed poll; it says so by its event `failed`.
let failed = false;

/** A command about a user other than the current one is a fault of the scenario, not of the SDK. */
function mustBeCurrent(user) {
  if (user && user.keyId !== current.keyId) {
    throw new Error(`the current user is ${current.keyId}, not ${user.keyId}: identify first`);
  }
}

async function variation({ key, user, type, default: fallback }) {
  mustBeCurrent(user);
  const method = { boolean: 'bool', string: 'string', number: 'number', json: 'json' }[type];
  const { value, reason } = client[`${method}VariationDetail`](key, fallback);
  return { value, reason };
}

function evaluates() {
  try {
    client.stringVariation('', '');
    return true;
  } catch {
    return false;
  }
}

function state() {
  return {
    ready: client !== null && client.initialized(),
    connected: logs.connected,
    stopped: logs.stopped || failed,
    connects: logs.connects,
    errors: logs.errors,
    posts: browser.seen().posts,
    closeCodes: browser.seen().closeCodes,
  };
}

serve('js-client', versionOf('@featbit/js-client-sdk'), {
  ...waits(variation, state),

  async start({ mode, url, eventsUrl, secret, user, startWaitMs = 5000, pollMs = 100, events = false }) {
    logs = new LogWatcher();
    updates = [];
    browser.forget();
    failed = false;
    current = user;
    client = new FbClientBuilder()
      .sdkKey(secret)
      .streamingUri(url.replace(/^http/, 'ws'))
      .pollingUri(url)
      .eventsUri(eventsUrl ?? url)
      .dataSyncMode(mode === 'polling' ? DataSyncModeEnum.POLLING : DataSyncModeEnum.STREAMING)
      .pollingInterval(pollMs)
      .startWaitTime(startWaitMs)
      .flushInterval(200)
      .disableEvents(!events)
      .user(user)
      .logger(logs)
      .build();
    client.on('update', (keys) => updates.push(...keys.flat()));
    client.on('failed', () => {
      failed = true;
    });
    client.on('error', () => {});
    // The SDK builds its parts asynchronously (it hashes the user); until then every evaluation throws.
    await until(() => ({ met: evaluates() }), startWaitMs);
  },

  async all({ user, record = false }) {
    mustBeCurrent(user);
    const values = {};
    for (const { flagKey, kind, reason, value } of await client.getAllVariations()) {
      values[flagKey] = { value, reason, kind };
      if (record) {
        client.stringVariation(flagKey, '');
      }
    }
    return { values };
  },

  async identify({ user }) {
    current = user;
    await client.identify(user);
  },

  async track({ user, event, value }) {
    mustBeCurrent(user);
    client.track(event, value);
  },

  async flush() {
    return { flushed: await client.flush() };
  },

  async updates() {
    return { keys: updates };
  },

  async stop() {
    await client.close();
    client = null;
  },
});
