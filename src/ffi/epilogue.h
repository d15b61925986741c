#ifdef __cplusplus
# define GW_INIT(T) gw_init<T>()    /* the template below extern "C" */
#else
# define GW_INIT(T) { .size = (uint32_t)sizeof(T) }
#endif
#define GW_LIT(s) { (s), sizeof(s) - 1 }    /* initializer, of a literal */
#if !defined(__cplusplus)
# define GW_STR(s) ((gw_str) GW_LIT(s))     /* expression, of a literal */
#endif
/* What a module exports, a gw_module_init_fn. */
#define GW_MODULE_SYMBOL "gw_module_init"
/* In a module, before its definition of gw_module_init. */
#ifdef __cplusplus
# define GW_MODULE_DECLARE \
    extern "C" GW_EXPORT gw_result gw_module_init(const gw_module_args *args, \
                                                  gw_module *out, \
                                                  gw_error *err)
#else
# define GW_MODULE_DECLARE \
    GW_EXPORT gw_result gw_module_init(const gw_module_args *args, \
                                       gw_module *out, gw_error *err)
#endif
/* May a member that appeared in a later version be used? */
#define GW_HAS(T, p, member) \
    ((p)->size >= offsetof(T, member) + sizeof((p)->member))
#if defined(__GNUC__)
# define GW_EXPORT __attribute__((visibility("default")))
#else
# define GW_EXPORT
#endif

#ifdef __cplusplus
}
template <typename T> static inline T gw_init() {
    T t = T();
    t.size = static_cast<uint32_t>(sizeof(T));
    return t;
}
#endif
#endif /* GATEWAY_H */
