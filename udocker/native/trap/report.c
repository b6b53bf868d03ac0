/* One line for the user: "udocker: ACT: OBJECT: CAUSE (HINT)". */

#include <errno.h>
#include <fcntl.h>

#include "trap.h"

enum { LINE = 6 * PATH_SIZE, OUTPUT = 1, ERRORS = 2 };

static const char *report_of = "run";
static int report_to = ERRORS;

void report_act(const char *act)
{
    report_of = act;
}

void report_keep(void)
{
    long kept = sys_call3(SYS_fcntl, ERRORS, F_DUPFD_CLOEXEC, ERRORS + 1);
    if (kept >= 0 && sys_call3(SYS_dup3, OUTPUT, ERRORS, 0) >= 0)
        report_to = (int)kept;
}

/* Control characters become octal escapes: a name with a newline must not make a second line. */
static size_t line_add(char *line, size_t length, const char *text)
{
    for (; *text && length + 8 < LINE; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte >= 0x20 && byte != 0x7f) {
            line[length++] = *text;
            continue;
        }
        line[length++] = '\\';
        line[length++] = (char)('0' + (byte >> 6));
        line[length++] = (char)('0' + (byte >> 3 & 7));
        line[length++] = (char)('0' + (byte & 7));
    }
    return length;
}

void report_line(const char *object, const char *cause, const char *hint)
{
    char line[LINE];
    size_t length = line_add(line, 0, "udocker: ");
    length = line_add(line, length, report_of);
    length = line_add(line, length, ": ");
    length = line_add(line, length, object);
    length = line_add(line, length, ": ");
    length = line_add(line, length, cause);
    if (hint) {
        length = line_add(line, length, " (");
        length = line_add(line, length, hint);
        length = line_add(line, length, ")");
    }
    line[length++] = '\n';
    sys_call3(SYS_write, report_to, line, length);
}

/* The words of the C library for what the launcher meets. */
static const struct {
    int number;
    const char *words;
} WORDS[] = {
    {EPERM, "Operation not permitted"},
    {ENOENT, "No such file or directory"},
    {EIO, "Input/output error"},
    {E2BIG, "Argument list too long"},
    {ENOMEM, "Cannot allocate memory"},
    {EACCES, "Permission denied"},
    {EEXIST, "File exists"},
    {ENOTDIR, "Not a directory"},
    {EISDIR, "Is a directory"},
    {EINVAL, "Invalid argument"},
    {ENOSPC, "No space left on device"},
    {EROFS, "Read-only file system"},
    {ENAMETOOLONG, "File name too long"},
    {ETXTBSY, "Text file busy"},
    {ENOSYS, "Function not implemented"},
    {ELOOP, "Too many levels of symbolic links"},
};

void report_error(const char *object, int error)
{
    report_error_hint(object, error, NULL);
}

void report_error_hint(const char *object, int error, const char *hint)
{
    char other[] = "error 000";
    const char *words = other;
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (WORDS[i].number == error)
            words = WORDS[i].words;
    other[6] = (char)('0' + error / 100 % 10);
    other[7] = (char)('0' + error / 10 % 10);
    other[8] = (char)('0' + error % 10);
    report_line(object, words, hint);
}

void process_stop(int status)
{
    for (;;)
        sys_call1(SYS_exit_group, status);
}

void report_and_stop(const char *object, const char *cause, const char *hint)
{
    report_line(object, cause, hint);
    process_stop(EXIT_LAUNCHER);
}

void report_failure(const char *object, long error)
{
    report_error(object, (int)-error);
    process_stop(EXIT_LAUNCHER);
}
