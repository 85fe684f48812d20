// What @featbit/js-client-sdk finds in a browser and Node lacks: `WebSocket` and `localStorage` (and `crypto`
// before Node 20). `fetch` is Node's own; it is wrapped only to see how event posts were answered.
'use strict';

const { webcrypto } = require('node:crypto');
const WebSocket = require('ws');

// Status codes of the answers to event posts, and the close codes that the SDK's sockets saw, in order. Renewed at
// each start: what belongs to a stopped client does not count for its successor.
let observed = { posts: [], closeCodes: [] };

function forget() {
  observed = { posts: [], closeCodes: [] };
}

class BrowserSocket extends WebSocket {
  constructor(url) {
    // A browser sends its page's origin and offers permessage-deflate.
    super(url, { origin: 'https://app.example.com', perMessageDeflate: true });
    const { closeCodes } = observed;
    this.addEventListener('close', ({ code }) => closeCodes.push(code));
  }
}

/** Lives as long as the process, so that a second `start` is a reload of the page. */
class MemoryStorage {
  #items = new Map();

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, String(value));
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

const nodeFetch = globalThis.fetch;

async function watchedFetch(url, options) {
  const answer = await nodeFetch(url, options);
  if (String(url).includes('/api/public/insight/track')) {
    observed.posts.push(answer.status);
  }
  return answer;
}

function install() {
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  define('WebSocket', BrowserSocket);
  define('localStorage', new MemoryStorage());
  define('fetch', watchedFetch);
  if (!globalThis.crypto) {
    define('crypto', webcrypto);
  }
}

module.exports = { install, forget, seen: () => observed };
