import co.featbit.commons.model.AllFlagStates;
import co.featbit.commons.model.EvalDetail;
import co.featbit.commons.model.FBUser;
import co.featbit.server.FBClientImp;
import co.featbit.server.FBConfig;
import co.featbit.server.Status;
import co.featbit.server.exterior.FBClient;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CopyOnWriteArrayList;

/** Drives co.featbit:featbit-java-sdk by the commands of ../../README.md. */
final class Driver {
    /** A value that no flag has: where the SDK gives it back, it has fallen back to its default. */
    private static final String NO_VALUE = "\0 no flag has this value";

    private static final String POM = "/META-INF/maven/co.featbit/featbit-java-sdk/pom.properties";

    private final LogLines log;
    private FBClient client;
    /** Renewed at each start: what a stopped client still says does not count for its successor. */
    private List<String> changed = new CopyOnWriteArrayList<>();

    private Driver(LogLines log) {
        this.log = log;
    }

    public static void main(String[] args) throws IOException {
        // Before the SDK's logging begins, which takes standard error as it finds it.
        LogLines log = LogLines.install();
        Driver driver = new Driver(log);
        new LineProtocol("java-server", sdkVersion()).serve(driver::run);
        driver.stop();
        // Threads of the SDK may outlive it.
        System.exit(0);
    }

    private static String sdkVersion() throws IOException {
        Properties pom = new Properties();
        try (InputStream file = FBClientImp.class.getResourceAsStream(POM)) {
            if (file != null) {
                pom.load(file);
            }
        }
        return pom.getProperty("version", "unknown");
    }

    private JsonObject run(String command, JsonObject args) throws IOException {
        switch (command) {
            case "start":
                start(args);
                return new JsonObject();
            case "wait-ready":
                return waitReady(args);
            case "variation":
                return variation(args);
            case "wait-value":
                return waitValue(args);
            case "all":
                return all(args);
            case "track":
                client.trackMetric(user(args), text(args, "event"), args.get("value").getAsDouble());
                return new JsonObject();
            case "flush":
                client.flush();
                return with("flushed", new JsonPrimitive(true));
            case "updates":
                JsonArray keys = new JsonArray();
                changed.forEach(keys::add);
                return with("keys", keys);
            case "state":
                return state();
            case "wait-state":
                return waitState(args);
            case "stop":
                stop();
                return new JsonObject();
            default:
                throw new IllegalArgumentException("unknown command: " + command);
        }
    }

    private void start(JsonObject args) {
        if (!"streaming".equals(text(args, "mode"))) {
            throw new IllegalArgumentException("this SDK has no polling");
        }
        String url = text(args, "url");
        boolean events = args.has("events") && args.get("events").getAsBoolean();
        log.forget();
        FBConfig config = new FBConfig.Builder()
                .streamingURL(url.replaceFirst("^http", "ws"))
                .eventURL(args.has("eventsUrl") ? text(args, "eventsUrl") : url)
                // Zero: the constructor returns at once; `wait-ready` waits.
                .startWaitTime(Duration.ZERO)
                .disableEvents(!events)
                .build();
        List<String> keys = new CopyOnWriteArrayList<>();
        changed = keys;
        client = new FBClientImp(text(args, "secret"), config);
        client.getFlagTracker().addFlagChangeListener(event -> keys.add(event.getKey()));
    }

    private void stop() throws IOException {
        if (client != null) {
            client.close();
            client = null;
        }
    }

    private boolean ready() {
        return client != null && client.isInitialized();
    }

    private JsonObject state() {
        boolean connected = client != null && log.connected();
        Status.StateType type = client == null ? null : client.getDataUpdateStatusProvider().getState().getStateType();
        JsonObject now = new JsonObject();
        now.addProperty("ready", ready());
        now.addProperty("connected", connected);
        now.addProperty("stopped", type == Status.StateType.OFF);
        now.addProperty("connects", log.connects());
        now.add("posts", log.posts());
        now.add("errors", log.errors());
        return now;
    }

    private JsonObject waitReady(JsonObject args) {
        boolean ready = LineProtocol.until(args, this::ready);
        return with("ready", new JsonPrimitive(ready));
    }

    private JsonObject waitState(JsonObject args) {
        JsonObject[] now = new JsonObject[1];
        boolean matched = LineProtocol.until(args, () -> {
            now[0] = state();
            return meets(now[0], args);
        });
        now[0].addProperty("matched", matched);
        return now[0];
    }

    private JsonObject waitValue(JsonObject args) {
        JsonObject[] seen = new JsonObject[1];
        boolean matched = LineProtocol.until(args, () -> {
            seen[0] = variation(args);
            return LineProtocol.same(seen[0].get("value"), args.get("value"));
        });
        seen[0].addProperty("matched", matched);
        return seen[0];
    }

    /** Whether `now` has what is wanted: flags equal, counters (and the number of posts) at least that high. */
    private static boolean meets(JsonObject now, JsonObject wanted) {
        for (String name : List.of("ready", "connected", "stopped")) {
            if (wanted.has(name) && !wanted.get(name).equals(now.get(name))) {
                return false;
            }
        }
        return (!wanted.has("connects") || now.get("connects").getAsInt() >= wanted.get("connects").getAsInt())
                && (!wanted.has("posts") || now.getAsJsonArray("posts").size() >= wanted.get("posts").getAsInt());
    }

    private JsonObject variation(JsonObject args) {
        FBUser user = user(args);
        String key = text(args, "key");
        EvalDetail<String> detail = client.variationDetail(key, user, NO_VALUE);
        JsonElement fallback = args.has("default") ? args.get("default") : JsonNull.INSTANCE;
        if (NO_VALUE.equals(detail.getVariation())) {
            return evaluated(fallback, detail.getReason());
        }
        switch (args.has("type") ? text(args, "type") : "string") {
            case "boolean":
                EvalDetail<Boolean> flag = client.boolVariationDetail(key, user, false);
                return evaluated(new JsonPrimitive(flag.getVariation()), flag.getReason());
            case "number":
                // NaN is no value of a flag either.
                EvalDetail<Double> number = client.doubleVariationDetail(key, user, Double.NaN);
                boolean none = number.getVariation().isNaN();
                return evaluated(none ? fallback : new JsonPrimitive(number.getVariation()), number.getReason());
            case "json":
                EvalDetail<JsonElement> json = client.jsonVariationDetail(key, user, JsonElement.class, fallback);
                return evaluated(json.getVariation(), json.getReason());
            default:
                return evaluated(new JsonPrimitive(detail.getVariation()), detail.getReason());
        }
    }

    /** The named flags, as text. */
    private JsonObject all(JsonObject args) {
        AllFlagStates states = client.getAllLatestFlagsVariations(user(args));
        JsonObject values = new JsonObject();
        for (JsonElement name : args.getAsJsonArray("keys")) {
            String key = name.getAsString();
            EvalDetail<String> detail = states.getStringDetail(key, NO_VALUE);
            if (!NO_VALUE.equals(detail.getVariation())) {
                values.add(key, evaluated(new JsonPrimitive(detail.getVariation()), detail.getReason()));
            }
        }
        return with("values", values);
    }

    private static FBUser user(JsonObject args) {
        JsonObject user = args.getAsJsonObject("user");
        FBUser.Builder builder = new FBUser.Builder(text(user, "keyId")).userName(text(user, "name"));
        JsonElement properties = user.get("customizedProperties");
        if (properties != null && properties.isJsonArray()) {
            for (JsonElement property : properties.getAsJsonArray()) {
                builder.custom(text(property.getAsJsonObject(), "name"), text(property.getAsJsonObject(), "value"));
            }
        }
        return builder.build();
    }

    private static String text(JsonObject object, String name) {
        return object.get(name).getAsString();
    }

    private static JsonObject with(String name, JsonElement value) {
        JsonObject object = new JsonObject();
        object.add(name, value);
        return object;
    }

    private static JsonObject evaluated(JsonElement value, String reason) {
        JsonObject seen = with("value", value);
        seen.addProperty("reason", reason);
        return seen;
    }
}
