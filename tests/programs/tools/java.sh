# A program that is compiled here: files from many threads, a process.
set -e
cat >Try.java <<'END'
import java.io.*;
import java.nio.file.*;
import java.util.stream.*;

public class Try {
    public static void main(String[] arguments) throws Exception {
        Path place = Files.createTempDirectory(Path.of("."), "java");
        IntStream.range(0, 40).parallel().forEach(number -> {
            try { Files.writeString(place.resolve("f" + number), "text " + number); }
            catch (IOException error) { throw new UncheckedIOException(error); }
        });
        try (Stream<Path> files = Files.walk(place)) { System.out.println(files.count()); }
        Process process = new ProcessBuilder("sh", "-c", "echo from a shell; pwd | wc -l").start();
        System.out.print(new String(process.getInputStream().readAllBytes()));
        System.out.println(process.waitFor() + " " + Files.exists(Path.of("/etc/passwd")));
    }
}
END
javac Try.java && java -Xmx256m Try
