// What a tab sends and gets, as the browser's own network stack reports it: preflights and refused answers included,
// which the page itself never sees.
'use strict';

function lowerCase(headers) {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
}

/** The part of a URL after its origin. */
function target(url) {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

function origin(url) {
  return new URL(url).origin;
}

class Network {
  /** Watches a tab through a session of the browser's protocol. */
  static async watch(session) {
    const network = new Network();
    for (const [event, note] of Object.entries(network.notes())) {
      session.on(event, note);
    }
    await session.send('Network.enable');
    return network;
  }

  constructor() {
    this.requests = new Map();
    this.sockets = new Map();
  }

  request(id) {
    if (!this.requests.has(id)) {
      this.requests.set(id, {});
    }
    return this.requests.get(id);
  }

  notes() {
    const socket = (id) => this.sockets.get(id);
    return {
      'Network.requestWillBeSent': ({ requestId, request: { method, url, headers }, documentURL }) => {
        const known = this.request(requestId);
        Object.assign(known, { method, url, documentURL, headers: { ...lowerCase(headers), ...known.headers } });
      },
      // The headers as they went over the wire.
      'Network.requestWillBeSentExtraInfo': ({ requestId, headers }) => {
        const known = this.request(requestId);
        known.headers = { ...known.headers, ...lowerCase(headers) };
      },
      'Network.responseReceived': ({ requestId, response }) => {
        const known = this.request(requestId);
        known.status ??= response.status;
        known.answer ??= lowerCase(response.headers);
      },
      // Comes for answers that the page may not see, too.
      'Network.responseReceivedExtraInfo': ({ requestId, statusCode, headers }) => {
        Object.assign(this.request(requestId), { status: statusCode, answer: lowerCase(headers) });
      },
      'Network.loadingFinished': ({ requestId }) => {
        this.request(requestId).ended = true;
      },
      'Network.loadingFailed': ({ requestId, errorText, corsErrorStatus }) => {
        Object.assign(this.request(requestId), { failed: corsErrorStatus?.corsError ?? errorText, ended: true });
      },
      'Network.webSocketCreated': ({ requestId, url }) => {
        this.sockets.set(requestId, { url, sent: [], received: [], open: true });
      },
      'Network.webSocketWillSendHandshakeRequest': ({ requestId, request }) => {
        socket(requestId).headers = lowerCase(request.headers);
      },
      'Network.webSocketHandshakeResponseReceived': ({ requestId, response }) => {
        Object.assign(socket(requestId), { status: response.status, answer: lowerCase(response.headers) });
      },
      'Network.webSocketFrameSent': ({ requestId, response }) => {
        socket(requestId).sent.push(response.payloadData);
      },
      'Network.webSocketFrameReceived': ({ requestId, response }) => {
        socket(requestId).received.push(response.payloadData);
      },
      'Network.webSocketClosed': ({ requestId }) => {
        socket(requestId).open = false;
      },
    };
  }

  /** Everything that went to another origin, in order. */
  seen() {
    const requests = [...this.requests.values()]
      .filter(({ url, documentURL, headers }) => url && origin(url) !== (headers.origin ?? origin(documentURL)))
      .map(({ url, documentURL, ...rest }) => ({ target: target(url), ...rest }));
    const sockets = [...this.sockets.values()].map(({ url, ...rest }) => ({ target: target(url), ...rest }));
    return { requests, sockets };
  }

  /** The status codes of answered event posts. */
  posts() {
    return [...this.requests.values()]
      .filter(({ method, url, status }) => method === 'POST' && status && url.includes('/api/public/insight/track'))
      .map(({ status }) => status);
  }
}

module.exports = { Network };
