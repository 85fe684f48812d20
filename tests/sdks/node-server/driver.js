// Drives @featbit/node-server-sdk by the commands of ../README.md.
'use strict';

const diagnostics = require('node:diagnostics_channel');
const { serve, versionOf, waits, LogWatcher } = require('../shared/line_protocol.js');
const { FbClientBuilder, DataSyncModeEnum } = require('@featbit/node-server-sdk');

// Renewed at each start: what a stopped client still says does not count for its successor.
let logs = new LogWatcher();
let client = null;
let updates = [];
let posts = [];

// The SDK tells nobody how its event posts ended, so the answers are watched where Node itself reports them.
diagnostics.subscribe('http.client.response.finish', ({ request, response }) => {
  if (request.method === 'POST' && request.path.startsWith('/api/public/insight/track')) {
    posts.push(response.statusCode);
  }
});

function sdkUser(user) {
  return { key: user.keyId, name: user.name, customizedProperties: user.customizedProperties ?? [] };
}

async function variation({ key, user, type, default: fallback }) {
  const method = { boolean: 'bool', string: 'string', number: 'number', json: 'json' }[type];
  const { value, reason } = await client[`${method}VariationDetail`](key, sdkUser(user), fallback);
  return { value, reason };
}

function state() {
  return {
    ready: client !== null && client.initialized(),
    connected: logs.connected,
    stopped: logs.stopped,
    connects: logs.connects,
    errors: logs.errors,
    posts,
  };
}

serve('node-server', versionOf('@featbit/node-server-sdk'), {
  ...waits(variation, state),

  async start({ mode, url, eventsUrl, secret, startWaitMs = 5000, pollMs = 100, events = false }) {
    logs = new LogWatcher();
    updates = [];
    posts = [];
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
      .logger(logs)
      .build();
    client.on('update', (keys) => updates.push(...keys));
    client.on('error', () => {});
  },

  async all({ user, record = false }) {
    const values = {};
    for (const { flagKey, kind, reason, value } of await client.getAllVariations(sdkUser(user))) {
      values[flagKey] = { value, reason, kind };
      if (record) {
        await client.stringVariation(flagKey, sdkUser(user), '');
      }
    }
    return { values };
  },

  async track({ user, event, value }) {
    client.track(sdkUser(user), event, value);
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
