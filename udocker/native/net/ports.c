#include "ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../path/sys.h"

/* ---- the text ---- */

static int number_read(const char **text, char end, uint32_t most)
{
    uint32_t number = 0;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9' && number <= most; at++)
        number = number * 10 + (uint32_t)(*at - '0');
    if (at == *text || *at != end || number > most)
        return -EINVAL;
    *text = at + 1;
    return (int)number;
}

static int digit_read(char digit)
{
    return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int address_read(struct port_map *map, const char **text)
{
    const char *at = *text;
    map->at = *at && *at != ',';
    for (size_t i = 0; map->at && i < sizeof map->address; i++, at += 2) {
        int high = digit_read(at[0]), low = high < 0 ? -1 : digit_read(at[1]);
        if (low < 0)
            return -EINVAL;
        map->address[i] = (uint8_t)(high << 4 | low);
    }
    if (*at && *at != ',')
        return -EINVAL;
    *text = *at ? at + 1 : at;
    return 0;
}

static int map_read(struct port_map *map, const char **text)
{
    int protocol = number_read(text, '/', 255);
    int first = protocol < 0 ? protocol : number_read(text, '-', 65535);
    int last = first < 0 ? first : number_read(text, '/', 65535);
    int host = last < 0 ? last : number_read(text, '/', 65535);
    if (host < 0 || last < first || host + last - first > 65535)
        return -EINVAL;
    map->protocol = (uint8_t)protocol;
    map->first = (uint16_t)first;
    map->last = (uint16_t)last;
    map->host = (uint16_t)host;
    return address_read(map, text);
}

int ports_read(struct ports *ports, const char *text)
{
    size_t length = bytes_length(text);
    if (length >= sizeof ports->text)
        return -E2BIG;
    bytes_copy(ports->text, text, length + 1);
    for (ports->count = 0; *text; ports->count++) {
        if (ports->count == PORTS_MOST)
            return -E2BIG;
        int result = map_read(&ports->maps[ports->count], &text);
        if (result < 0)
            return result;
    }
    return 0;
}

/* ---- addresses ---- */

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}; /* an address of IPv4 in IPv6 */

/* What the two families have in common, in a program's memory or in a copy of it. */
struct view {
    uint8_t *port; /* big endian */
    uint8_t *address;
    bool is_six;
};

static bool view_make(struct view *view, void *address, size_t size)
{
    struct sockaddr_in *four = address;
    struct sockaddr_in6 *six = address;
    if (size >= sizeof *four && four->sin_family == AF_INET)
        *view = (struct view){(uint8_t *)&four->sin_port, (uint8_t *)&four->sin_addr, false};
    else if (size >= offsetof(struct sockaddr_in6, sin6_scope_id) && six->sin6_family == AF_INET6)
        *view = (struct view){(uint8_t *)&six->sin6_port, (uint8_t *)&six->sin6_addr, true};
    else
        return false;
    return true;
}

static bool bytes_same(const uint8_t *one, const uint8_t *other, size_t size)
{
    return bytes_equal((const char *)one, (const char *)other, size);
}

/* The IPv4 address that it is, or NULL. */
static const uint8_t *view_four(const struct view *view)
{
    if (!view->is_six)
        return view->address;
    return bytes_same(view->address, MAPPED, sizeof MAPPED) ? view->address + sizeof MAPPED : NULL;
}

static bool view_is_any(const struct view *view)
{
    static const uint8_t any[16];
    const uint8_t *four = view_four(view);
    return four ? bytes_same(four, any, 4) : bytes_same(view->address, any, sizeof any);
}

static bool view_is_loopback(const struct view *view)
{
    static const uint8_t loopback[16] = {[15] = 1};
    const uint8_t *four = view_four(view);
    return four ? four[0] == 127 : bytes_same(view->address, loopback, sizeof loopback);
}

static bool view_is_at(const struct view *view, const struct port_map *map)
{
    if (view->is_six)
        return bytes_same(view->address, map->address, sizeof map->address);
    return bytes_same(map->address, MAPPED, sizeof MAPPED) && bytes_same(view->address, map->address + sizeof MAPPED, 4);
}

static int view_move(struct view *view, const struct port_map *map)
{
    if (view->is_six)
        bytes_copy((char *)view->address, (const char *)map->address, sizeof map->address);
    else if (bytes_same(map->address, MAPPED, sizeof MAPPED))
        bytes_copy((char *)view->address, (const char *)map->address + sizeof MAPPED, 4);
    else
        return -EADDRNOTAVAIL; /* everywhere else it was not to be published */
    return 1;
}

static unsigned port_get(const struct view *view)
{
    return (unsigned)view->port[0] << 8 | view->port[1];
}

static void port_set(struct view *view, unsigned port)
{
    view->port[0] = (uint8_t)(port >> 8);
    view->port[1] = (uint8_t)port;
}

int ports_to_host(const struct ports *ports, int protocol, enum port_use use, void *address, size_t size)
{
    struct view view;
    if (ports->count == 0 || !view_make(&view, address, size))
        return 0;
    bool any = view_is_any(&view);
    if (use == PORT_REACH && !any && !view_is_loopback(&view))
        return 0;
    unsigned port = port_get(&view);
    for (const struct port_map *map = ports->maps; map < ports->maps + ports->count; map++) {
        if (map->protocol != protocol || port < map->first || port > map->last)
            continue;
        port_set(&view, map->host + (port - map->first));
        return map->at && (any || use == PORT_REACH) ? view_move(&view, map) : 1;
    }
    return 0;
}

void ports_to_guest(const struct ports *ports, int protocol, bool own, void *address, size_t size)
{
    struct view view;
    if (ports->count == 0 || !view_make(&view, address, size))
        return;
    unsigned port = port_get(&view);
    for (const struct port_map *map = ports->maps; map < ports->maps + ports->count; map++) {
        unsigned most = (unsigned)map->host + map->last - map->first;
        bool here = map->at && view_is_at(&view, map);
        if (map->protocol != protocol || port < map->host || port > most || !(own || here || view_is_loopback(&view)))
            continue;
        port_set(&view, map->first + (port - map->host));
        for (size_t i = 0; own && here && i < (view.is_six ? 16u : 4u); i++)
            view.address[i] = 0; /* as it was bound */
        return;
    }
}
