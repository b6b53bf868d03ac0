/* Shared by the files of this directory. */
#ifndef PATH_WORLD_H
#define PATH_WORLD_H

#include "path.h"

/* The view that a guest path without links lies in. */
const struct path_view *world_view(const struct path_world *world, const char *guest, size_t length);

/* The host path of a guest path without links, "" for the root; -ENAMETOOLONG. */
int world_map(const struct path_world *world, const char *guest, size_t length, struct path_place *place);

#endif
