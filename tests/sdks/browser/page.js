// Runs in the page, after the SDK's browser build, whose exports are properties of the window.
'use strict';

window.app = new ClientApp(window, LogWatcher);

// What the browser has told the page of its life, in order.
window.life = [document.visibilityState];
document.addEventListener('visibilitychange', () => window.life.push(document.visibilityState));
for (const name of ['freeze', 'resume']) {
  document.addEventListener(name, () => window.life.push(name));
}
window.addEventListener('pageshow', ({ persisted }) => persisted && window.life.push('restored'));

/** Any request of an application's own, and what the page is allowed to see of its answer. */
window.ask = async ({ url, method, headers, body, bodyBytes }) => {
  try {
    const answer = await fetch(url, { method, headers, body: bodyBytes ? 'x'.repeat(bodyBytes) : body });
    return { status: answer.status, body: await answer.text() };
  } catch (error) {
    return { failed: String(error) };
  }
};
