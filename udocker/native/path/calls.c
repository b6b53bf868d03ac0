#include "calls.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/inotify.h>

#include "numbers.h"

/* fanotify_mark(2) and fspick(2), whose headers are of later systems. */
#define FAN_MARK_DONT_FOLLOW 0x4
#define FSPICK_SYMLINK_NOFOLLOW 0x2

#define FOLLOWS CALL_FOLLOWS
#define KEEPS CALL_KEEPS
#define CHANGES CALL_CHANGES
#define REMOVES CALL_REMOVES
#define ASKS CALL_ASKS
#define EMPTY CALL_EMPTY
#define NULLS CALL_NULLS
#define NAMES CALL_NAMES

#define CALL(name, shape, dirfd, path, flags, bit, traits) \
    {SYS_##name, CALL_##shape, dirfd, path, flags, traits, bit},

const struct call call_table[] = {
#include "calls.def"
};
const size_t call_count = sizeof call_table / sizeof *call_table;

/* Numbers to places in the table, plus one. */
enum place {
    PLACE_NONE,
#undef CALL
#define CALL(name, ...) PLACE_##name,
#include "calls.def"
};

static const uint8_t PLACES[512] = {
#undef CALL
#define CALL(name, ...) [SYS_##name] = PLACE_##name,
#include "calls.def"
};

const struct call *call_find(long number)
{
    bool is_known = number >= 0 && (size_t)number < sizeof PLACES && PLACES[number];
    return is_known ? &call_table[PLACES[number] - 1] : NULL;
}
