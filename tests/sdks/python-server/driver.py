"""Drives fb-python-sdk by the commands of ../README.md."""

import json
import logging
import re
import sys
import time
from importlib.metadata import version

from fbclient.client import FBClient
from fbclient.config import Config
from fbclient.event_processor import NullEventProcessor
from fbclient.flag_change_notification import FlagChangedListener
from fbclient.status_types import StateType

# How often a wait looks at the SDK's own state. A condition is polled, nothing sleeps blindly.
LOOK_EVERY_S = 0.01
LINES_KEPT = 20

POSTED = re.compile(r'"POST /api/public/insight/track HTTP/1\.[01]" (\d{3})')


class LogWatcher(logging.Handler):
    """What the SDK shows of its connections and posts only in its log (and in that of urllib3)."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.reset()

    def reset(self):
        self.connects = 0
        self.posts = []
        self.errors = []

    def emit(self, record):
        text = record.getMessage()
        if 'Asking Data updating on WebSocket' in text:
            self.connects += 1
        posted = POSTED.search(text)
        if posted:
            self.posts.append(int(posted.group(1)))
        if record.levelno >= logging.WARNING:
            self.errors = (self.errors + [text])[-LINES_KEPT:]


class Changes(FlagChangedListener):
    def __init__(self):
        self.keys = []

    def on_flag_change(self, notice):
        self.keys.append(notice.flag_key)


def sdk_user(user):
    custom = {p['name']: p['value'] for p in user.get('customizedProperties') or []}
    return {**custom, 'key': user['keyId'], 'name': user['name']}


def same(left, right):
    """Equal as JSON values: 1 and 1.0 are, 1 and true are not."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def until(look, timeout_ms):
    """Looks until `look()` gives (True, …) or the time is over; returns what was seen last."""
    end = time.monotonic() + timeout_ms / 1000
    while True:
        seen = look()
        if seen[0] or time.monotonic() >= end:
            return seen
        time.sleep(LOOK_EVERY_S)


class Driver:
    def __init__(self, logs):
        self.logs = logs
        self.client = None
        self.changes = Changes()

    def start(self, mode, url, secret, eventsUrl=None, startWaitMs=5000, events=False, **_):
        if mode != 'streaming':
            raise ValueError('this SDK has no polling')
        self.logs.reset()
        self.changes = Changes()
        config = Config(
            secret,
            eventsUrl or url,
            re.sub('^http', 'ws', url),
            events_flush_interval=0.2,
            event_processor_imp=None if events else NullEventProcessor,
        )
        # Zero: the constructor returns at once; `wait-ready` waits.
        self.client = FBClient(config, start_wait=0)
        self.client.flag_tracker.add_flag_changed_listener(self.changes)

    def state(self, **_):
        status = self.client.update_status_provider.current_state.state_type if self.client else None
        return {
            'ready': bool(self.client and self.client.initialize),
            'connected': status == StateType.OK,
            'stopped': status == StateType.OFF,
            'connects': self.logs.connects,
            'errors': self.logs.errors,
            'posts': self.logs.posts,
        }

    def variation(self, key, user, default=None, **_):
        detail = self.client.variation_detail(key, sdk_user(user), default)
        return {'value': detail.variation, 'reason': detail.reason}

    def all(self, user, record=False, **_):
        states = self.client.get_all_latest_flag_variations(sdk_user(user))
        if not states.success:
            raise RuntimeError(states.reason)
        values = {}
        for flag in states.to_json_dict()['data']:
            values[flag['keyName']] = {'value': flag['variation'], 'reason': flag['reason']}
            if record:
                states.get(flag['keyName'])
        return {'values': values}

    def wait_ready(self, timeoutMs, **_):
        return {'ready': until(lambda: (self.client.initialize,), timeoutMs)[0]}

    def wait_value(self, key, user, value, timeoutMs, default=None, **_):
        def look():
            seen = self.variation(key, user, default)
            return same(seen['value'], value), seen

        matched, seen = until(look, timeoutMs)
        return {'matched': matched, **seen}

    def wait_state(self, timeoutMs, **wanted):
        def look():
            now = self.state()
            return meets(now, wanted), now

        matched, now = until(look, timeoutMs)
        return {'matched': matched, **now}

    def track(self, user, event, value=1.0, **_):
        self.client.track_metric(sdk_user(user), event, value)

    def flush(self, **_):
        self.client.flush()
        return {'flushed': True}

    def updates(self, **_):
        return {'keys': self.changes.keys}

    def stop(self, **_):
        self.client.stop()
        self.client = None


def meets(now, wanted):
    """Whether `now` has what is wanted: flags equal, counters (and the number of posts) at least that high."""
    for name, value in wanted.items():
        have = now[name]
        if name == 'posts':
            met = len(have) >= value
        elif name == 'connects':
            met = have >= value
        else:
            met = have == value
        if not met:
            return False
    return True


def main():
    answers, sys.stdout = sys.stdout, sys.stderr
    logs = LogWatcher()
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(logs)
    driver = Driver(logs)

    def say(message):
        answers.write(json.dumps(message) + '\n')
        answers.flush()

    say({'ready': True, 'sdk': 'python-server', 'version': version('fb-python-sdk')})
    for line in sys.stdin:
        number = None
        try:
            command = json.loads(line)
            number = command.pop('id', None)
            run = getattr(driver, command.pop('cmd').replace('-', '_'))
            say({'id': number, 'ok': True, **(run(**command) or {})})
        except Exception as error:  # whatever went wrong is the answer
            say({'id': number, 'ok': False, 'error': repr(error)})
    if driver.client:
        driver.client.stop()


if __name__ == '__main__':
    main()
