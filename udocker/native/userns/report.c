/* One line for the user: "udocker: ACT: OBJECT: CAUSE (HINT)". */

#include "userns.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct line {
    char text[16384];
    size_t length;
};

static const char *report_of = "run";
static int report_to = STDERR_FILENO;

void report_act(const char *act)
{
    report_of = act;
}

void report_keep(void)
{
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (kept >= 0 && dup2(STDOUT_FILENO, STDERR_FILENO) >= 0)
        report_to = kept;
}

/* Control characters become octal escapes: a name with a newline must not make a second line. */
static void line_add(struct line *line, const char *text)
{
    for (; *text && line->length + 8 < sizeof line->text; text++) {
        unsigned char byte = (unsigned char)*text;
        char *end = line->text + line->length;
        if (byte < 0x20 || byte == 0x7f)
            line->length += (size_t)sprintf(end, "\\%03o", byte);
        else
            line->text[line->length++] = *text;
    }
}

/* A single write(2), so that the lines of many ranks do not mix. */
void report_line(const char *object, const char *cause, const char *hint)
{
    struct line line = {.length = 0};
    line_add(&line, "udocker: ");
    line_add(&line, report_of);
    line_add(&line, ": ");
    line_add(&line, object);
    line_add(&line, ": ");
    line_add(&line, cause);
    if (hint && *hint) {
        line_add(&line, " (");
        line_add(&line, hint);
        line_add(&line, ")");
    }
    line.text[line.length++] = '\n';
    if (write(report_to, line.text, line.length) < 0) {
        /* Standard error is closed: the exit status tells what is left to tell. */
    }
}

void report_error(const char *object, int error, const char *hint)
{
    report_line(object, strerror(error), hint);
}
