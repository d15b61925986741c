/*
 * Uses what the header offers without a server: C11 and C++11 alike.
 */
#include <gateway.h>
#include <stdio.h>
#include <string.h>

static int failures;

#define EXPECT(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s\n", __LINE__, #what); \
            failures++; \
        } \
    } while (0)

static const gw_pair pairs[] = {
    { GW_LIT("Content-Type"), GW_LIT("text/plain") },
};

static void
versions(void)
{
    char text[32];

    EXPECT(GW_VERSION_NUMBER == gw_version_number());
    EXPECT(gw_abi() == GW_ABI);
    (void) snprintf(text, sizeof text, "%d.%d.%d", GW_VERSION_MAJOR,
                    GW_VERSION_MINOR, GW_VERSION_PATCH);
    EXPECT(strcmp(gw_version(), text) == 0);
    EXPECT(gw_features() & GW_FEATURE_FORK);
}

static void
results(void)
{
    EXPECT(strcmp(gw_result_name(GW_ERR_IO), "GW_ERR_IO") == 0);
    EXPECT(strcmp(gw_result_text(GW_ERR_IO), "input/output error") == 0);
    EXPECT(strcmp(gw_result_name(-1000), "GW_ERR_?") == 0);
    EXPECT(gw_result_text(1000) != NULL);
}

static void
macros(void)
{
    gw_error err = GW_INIT(gw_error);

    EXPECT(err.size == sizeof err);
    EXPECT(err.code == GW_OK && err.message[0] == '\0');
    EXPECT(GW_HAS(gw_error, &err, message));
    err.size = offsetof(gw_error, message);
    EXPECT(GW_HAS(gw_error, &err, exit_status));
    EXPECT(!GW_HAS(gw_error, &err, message));
    EXPECT(pairs[0].name.len == 12 && pairs[0].value.len == 10);
#ifndef __cplusplus
    EXPECT(GW_STR("four").len == 4);
#endif
}

int
main(void)
{
    versions();
    results();
    macros();

    if (failures == 0) {
        puts("ok");
    }
    return failures != 0;
}
