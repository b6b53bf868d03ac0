#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *below(const char *way, const char *name)
{
    static char paths[4][2 * LONGEST];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", way, name);
    return path;
}

bool closed(int file)
{
    return file >= 0 && close(file) == 0;
}

bool address_of(struct sockaddr_un *address, const char *path)
{
    address->sun_family = AF_UNIX;
    memset(address->sun_path, 0, sizeof address->sun_path);
    if (strlen(path) >= sizeof address->sun_path)
        return false;
    strcpy(address->sun_path, path);
    return true;
}

bool show_at(int directory, const char *path)
{
    char text[4096];
    int file = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return false;
    ssize_t size = read(file, text, sizeof text);
    if (size > 0)
        fwrite(text, 1, (size_t)size, stdout);
    close(file);
    return true;
}

bool show(const char *path)
{
    return show_at(AT_FDCWD, path);
}

void remove_tree(const char *path)
{
    if (unlink(path) < 0)
        rmdir(path);
}

const char *own_file(const char *path)
{
    remove_tree(path);
    int file = open(path, O_CREAT | O_WRONLY | O_EXCL, 0644);
    if (file >= 0)
        close(file);
    return path;
}

static int try_ways(const struct act *act, const struct scene *scene)
{
    static struct way way;
    int tried = 0;
    bool direct = scene->more && strcmp(scene->more, "direct") == 0;
    for (size_t i = 0; i < (direct ? 1 : ways_count()); i++) {
        if (!way_make(scene, i, &way) || chdir(way.from) < 0)
            continue;
        tried++;
        if (act->attempt(way.path))
            printf("reached by %s: %s %.200s\n", act->name, way.from, way.path);
    }
    printf("tried %d ways\n", tried);
    return 0;
}

static int run_act(const struct act *act, const char *name, const struct scene *scene)
{
    for (; act->name; act++)
        if (strcmp(act->name, name) == 0)
            return try_ways(act, scene);
    return 2;
}

static int run_trick(const struct trick *trick, const char *name, const struct scene *scene)
{
    for (; trick->name; trick++)
        if (strcmp(trick->name, name) == 0) {
            trick->attempt(scene);
            printf("tried\n");
            return 0;
        }
    return 2;
}

static int run(const char *kind, const char *name, const struct scene *scene)
{
    if (strcmp(kind, "victim") == 0)
        return victim(scene);
    if (strcmp(kind, "calls") == 0)
        return run_act(sights, name, scene) == 0 ? 0 : run_act(acts, name, scene);
    if (strcmp(kind, "spaces") == 0)
        return run_act(spaces, name, scene);
    if (strcmp(kind, "tricks") == 0)
        return run_trick(tricks, name, scene);
    if (strcmp(kind, "races") == 0)
        return run_trick(races, name, scene);
    return strcmp(kind, "changes") == 0 ? run_trick(changes, name, scene) : 2;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    struct scene scene = {argv[3], atol(argv[4]), argv[5]};
    umask(022);
    setvbuf(stdout, NULL, _IONBF, 0); /* children print as well */
    if (strcmp(argv[1], "victim") != 0 && ((mkdir(WORK, 0755) < 0 && errno != EEXIST) || chdir(WORK) < 0)) {
        perror(WORK);
        return 2;
    }
    int status = run(argv[1], argv[2], &scene);
    if (status == 2)
        fprintf(stderr, "no such attempt: %s %s\n", argv[1], argv[2]);
    return status;
}
