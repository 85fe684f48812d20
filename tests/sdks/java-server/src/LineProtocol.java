import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** One JSON command a line in, one JSON answer a line out, in order. */
final class LineProtocol {
    /** How often a wait looks at the SDK's own state. A condition is polled, nothing sleeps blindly. */
    private static final long LOOK_EVERY_MS = 10;

    private final Gson gson = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    private final PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    /** Runs one command. */
    interface Commands {
        JsonObject run(String command, JsonObject args) throws Exception;
    }

    LineProtocol(String sdk, String version) {
        // Standard output belongs to the answers alone.
        System.setOut(System.err);
        JsonObject hello = new JsonObject();
        hello.addProperty("ready", true);
        hello.addProperty("sdk", sdk);
        hello.addProperty("version", version);
        answers.println(gson.toJson(hello));
    }

    /** Answers commands until standard input ends. */
    void serve(Commands commands) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonElement id = JsonNull.INSTANCE;
            JsonObject answer;
            try {
                JsonObject command = JsonParser.parseString(line).getAsJsonObject();
                id = command.has("id") ? command.get("id") : id;
                answer = commands.run(command.get("cmd").getAsString(), command);
                answer.addProperty("ok", true);
            } catch (Exception exception) {
                // Whatever went wrong is the answer.
                answer = new JsonObject();
                answer.addProperty("ok", false);
                answer.addProperty("error", exception.toString());
            }
            answer.add("id", id);
            answers.println(gson.toJson(answer));
        }
    }

    /** Looks until `condition` holds, which is true, or the command's time is over. */
    static boolean until(JsonObject command, BooleanSupplier condition) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(command.get("timeoutMs").getAsLong());
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() >= end) {
                return false;
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(LOOK_EVERY_MS));
        }
        return true;
    }

    /** Whether two JSON values mean the same: 1 and 1.0 do. */
    static boolean same(JsonElement left, JsonElement right) {
        if (left == null || right == null || left.isJsonNull() || right.isJsonNull()) {
            return (left == null || left.isJsonNull()) && (right == null || right.isJsonNull());
        }
        if (left.isJsonArray() && right.isJsonArray()) {
            boolean same = left.getAsJsonArray().size() == right.getAsJsonArray().size();
            for (int at = 0; same && at < left.getAsJsonArray().size(); at++) {
                same = same(left.getAsJsonArray().get(at), right.getAsJsonArray().get(at));
            }
            return same;
        }
        if (left.isJsonObject() && right.isJsonObject()) {
            JsonObject other = right.getAsJsonObject();
            return left.getAsJsonObject().size() == other.size()
                    && left.getAsJsonObject().entrySet().stream()
                            .allMatch(entry -> other.has(entry.getKey()) && same(entry.getValue(), other.get(entry.getKey())));
        }
        if (isNumber(left) && isNumber(right)) {
            return left.getAsDouble() == right.getAsDouble();
        }
        return left.equals(right);
    }

    private static boolean isNumber(JsonElement value) {
        return value.isJsonPrimitive() && value.getAsJsonPrimitive().isNumber();
    }
}
