import com.google.gson.JsonArray;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;

/** What the SDK shows of its connections and posts only in its log. */
final class LogLines extends OutputStream {
    private static final int LINES_KEPT = 20;

    private final ByteArrayOutputStream line = new ByteArrayOutputStream();
    private final Deque<String> errors = new ArrayDeque<>();
    private int connects;
    private boolean connected;
    private int posted;

    /** Takes standard error's place, and has the SDK log all it does. */
    static LogLines install() {
        LogLines log = new LogLines();
        System.setProperty("org.slf4j.simpleLogger.logFile", "System.err");
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "debug");
        System.setProperty("org.slf4j.simpleLogger.showThreadName", "false");
        System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
        return log;
    }

    @Override
    public synchronized void write(int one) {
        if (one != '\n') {
            line.write(one);
            return;
        }
        take(line.toString(StandardCharsets.UTF_8));
        line.reset();
    }

    private void take(String text) {
        if (text.contains("Ask Data Updating")) {
            connects++;
            connected = true;
        } else if (text.contains("WebSocket close reason") || text.contains("ebSocket will reconnect because of")) {
            connected = false;
        } else if (text.contains("sending events ok")) {
            posted++;
        }
        if (text.startsWith("ERROR") || text.startsWith("WARN")) {
            errors.addLast(text);
            if (errors.size() > LINES_KEPT) {
                errors.removeFirst();
            }
        }
    }

    synchronized void forget() {
        errors.clear();
        connects = 0;
        connected = false;
        posted = 0;
    }

    synchronized int connects() {
        return connects;
    }

    synchronized boolean connected() {
        return connected;
    }

    /** It tells of posts that were taken, and not by which status. */
    synchronized JsonArray posts() {
        JsonArray statuses = new JsonArray();
        for (int post = 0; post < posted; post++) {
            statuses.add(200);
        }
        return statuses;
    }

    synchronized JsonArray errors() {
        JsonArray lines = new JsonArray();
        errors.forEach(lines::add);
        return lines;
    }
}
