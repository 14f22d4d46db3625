/* A PKCS#11 module that passes every call on to another one, and misbehaves as a control file says.
 *
 * The other module is named by SHIM_MODULE, the control file by SHIM_CONTROL. The file is mapped, so that a test changes
 * the behaviour while calls are under way. See `Control` in shim.rs for its fields.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long ULONG;
typedef unsigned char BYTE;
typedef struct { ULONG mechanism; void *param; ULONG len; } MECHANISM;
typedef struct { BYTE *iv; ULONG iv_len, iv_bits; BYTE *aad; ULONG aad_len, tag_bits; } GCM;

enum { CKM_AES_GCM = 0x1087 };
enum {
    CKR_HOST_MEMORY = 0x02, CKR_GENERAL_ERROR = 0x05, CKR_FUNCTION_FAILED = 0x06, CKR_DEVICE_ERROR = 0x30,
    CKR_DEVICE_MEMORY = 0x31, CKR_DEVICE_REMOVED = 0x32, CKR_KEY_HANDLE_INVALID = 0x60, CKR_MECHANISM_INVALID = 0x70,
    CKR_MECHANISM_PARAM_INVALID = 0x71, CKR_OBJECT_HANDLE_INVALID = 0x82, CKR_OPERATION_ACTIVE = 0x90,
    CKR_SESSION_HANDLE_INVALID = 0xB3, CKR_TOKEN_NOT_PRESENT = 0xE0, CKR_USER_NOT_LOGGED_IN = 0x101,
    CKR_PIN_INCORRECT = 0xA0, CKR_ENCRYPTED_DATA_INVALID = 0x40,
};
static const ULONG ERRORS[] = {
    CKR_HOST_MEMORY, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED,
    CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_SESSION_HANDLE_INVALID, CKR_TOKEN_NOT_PRESENT,
    CKR_USER_NOT_LOGGED_IN, CKR_OPERATION_ACTIVE, CKR_ENCRYPTED_DATA_INVALID,
};

struct control {
    volatile uint32_t per_mille;   /* of calls that fail with an error by chance */
    volatile uint32_t iv;          /* 0 the caller's, 1 zeros in and the token's out, 2 none in and the token's behind */
    volatile uint32_t no_gcm;      /* AES-GCM is refused */
    volatile uint32_t full;        /* no room for keys that stay */
    volatile uint32_t gone;        /* the token is not there */
    volatile uint32_t logins;      /* counts C_Login */
    volatile uint32_t silent;      /* C_GetTokenInfo fails */
    volatile uint32_t injected;    /* counts errors by chance */
};

/* The function list of version 2.40: a version, then 68 pointers. */
enum { FUNCTIONS = 68 };
struct list { BYTE major, minor; ULONG (*f[FUNCTIONS])(); };
enum {
    F_INITIALIZE, F_FINALIZE, F_GET_INFO, F_GET_FUNCTION_LIST, F_GET_SLOT_LIST, F_GET_SLOT_INFO, F_GET_TOKEN_INFO,
    F_OPEN_SESSION = 12, F_LOGIN = 18, F_FIND_INIT = 26, F_FIND = 27, F_ENCRYPT_INIT = 29, F_ENCRYPT = 30,
    F_DECRYPT_INIT = 33, F_DECRYPT = 34, F_GENERATE_KEY = 58,
};

static struct list *real, ours;
static struct control *control;

/* Where an IV that the shim has made is to go when the encryption ends; one encryption at a time per thread. */
static __thread BYTE made_iv[12];
static __thread int have_iv;

static ULONG chance(void) {
    static __thread unsigned seed;
    if (!seed) seed = (unsigned)(uintptr_t)&seed ^ (unsigned)getpid();
    if (control->gone) return CKR_TOKEN_NOT_PRESENT;
    if ((unsigned)rand_r(&seed) % 1000 >= control->per_mille) return 0;
    __sync_fetch_and_add(&control->injected, 1);
    return ERRORS[(unsigned)rand_r(&seed) % (sizeof ERRORS / sizeof *ERRORS)];
}
#define MAYBE() do { ULONG error_ = chance(); if (error_) return error_; } while (0)

static ULONG get_slot_list(BYTE present, ULONG *slots, ULONG *count) {
    if (control->gone) { *count = 0; return 0; }
    MAYBE();
    return real->f[F_GET_SLOT_LIST](present, slots, count);
}
static ULONG get_token_info(ULONG slot, void *info) {
    if (control->silent) return CKR_FUNCTION_FAILED;
    MAYBE();
    return real->f[F_GET_TOKEN_INFO](slot, info);
}
static ULONG open_session(ULONG slot, ULONG flags, void *app, void *notify, ULONG *session) {
    MAYBE();
    return real->f[F_OPEN_SESSION](slot, flags, app, notify, session);
}
static ULONG login(ULONG session, ULONG user, BYTE *pin, ULONG len) {
    __sync_fetch_and_add(&control->logins, 1);
    MAYBE();
    return real->f[F_LOGIN](session, user, pin, len);
}
static ULONG find_init(ULONG session, void *template, ULONG count) {
    MAYBE();
    return real->f[F_FIND_INIT](session, template, count);
}
static ULONG generate_key(ULONG session, MECHANISM *mechanism, void *template, ULONG count, ULONG *key) {
    MAYBE();
    /* A key that stays says so in an attribute: CKA_TOKEN (1), true. */
    struct { ULONG type; BYTE *value; ULONG len; } *attribute = template;
    for (ULONG n = 0; control->full && n < count; n++)
        if (attribute[n].type == 1 && attribute[n].len == 1 && *attribute[n].value) return CKR_DEVICE_MEMORY;
    return real->f[F_GENERATE_KEY](session, mechanism, template, count, key);
}
static void make_iv(void) {
    static uint64_t counter;
    uint64_t number = __sync_add_and_fetch(&counter, 1);
    memset(made_iv, 0xA5, sizeof made_iv);
    memcpy(made_iv, &number, sizeof number);
    have_iv = 1;
}
static ULONG encrypt_init(ULONG session, MECHANISM *mechanism, ULONG key) {
    static const BYTE zeros[12];
    MAYBE();
    have_iv = 0;
    if (mechanism->mechanism != CKM_AES_GCM) return real->f[F_ENCRYPT_INIT](session, mechanism, key);
    if (control->no_gcm) return CKR_MECHANISM_INVALID;
    GCM params = *(GCM *)mechanism->param;
    MECHANISM inner = *mechanism;
    inner.param = &params;
    if (control->iv == 1) {
        if (params.iv_len != 12 || memcmp(params.iv, zeros, 12)) return CKR_MECHANISM_PARAM_INVALID;
        make_iv();
        memcpy(params.iv, made_iv, 12);
        have_iv = 0;
    } else if (control->iv == 2) {
        if (params.iv_len != 0) return CKR_MECHANISM_PARAM_INVALID;
        make_iv();
        params.iv = made_iv;
        params.iv_len = 12;
        params.iv_bits = 96;
    }
    return real->f[F_ENCRYPT_INIT](session, &inner, key);
}
static ULONG encrypt(ULONG session, BYTE *data, ULONG data_len, BYTE *out, ULONG *out_len) {
    MAYBE();
    ULONG room = *out_len;
    ULONG result = real->f[F_ENCRYPT](session, data, data_len, out, out_len);
    if (result == 0 && have_iv) {
        if (out && room >= *out_len + 12) memcpy(out + *out_len, made_iv, 12);
        *out_len += 12;
    }
    return result;
}
static ULONG decrypt_init(ULONG session, MECHANISM *mechanism, ULONG key) {
    MAYBE();
    if (control->no_gcm && mechanism->mechanism == CKM_AES_GCM) return CKR_MECHANISM_INVALID;
    return real->f[F_DECRYPT_INIT](session, mechanism, key);
}
static ULONG decrypt(ULONG session, BYTE *data, ULONG data_len, BYTE *out, ULONG *out_len) {
    MAYBE();
    return real->f[F_DECRYPT](session, data, data_len, out, out_len);
}

ULONG C_GetFunctionList(struct list **out) {
    const char *module = getenv("SHIM_MODULE"), *path = getenv("SHIM_CONTROL");
    int file = path ? open(path, O_RDWR) : -1;
    void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : 0;
    if (file < 0 || !library) return CKR_GENERAL_ERROR;
    control = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    ULONG (*get)(struct list **) = (ULONG (*)(struct list **))dlsym(library, "C_GetFunctionList");
    if (control == MAP_FAILED || !get || get(&real)) return CKR_GENERAL_ERROR;
    ours = *real;
    ours.f[F_GET_FUNCTION_LIST] = C_GetFunctionList;
    ours.f[F_GET_SLOT_LIST] = (ULONG (*)())get_slot_list;
    ours.f[F_GET_TOKEN_INFO] = get_token_info;
    ours.f[F_OPEN_SESSION] = open_session;
    ours.f[F_LOGIN] = login;
    ours.f[F_FIND_INIT] = find_init;
    ours.f[F_GENERATE_KEY] = generate_key;
    ours.f[F_ENCRYPT_INIT] = encrypt_init;
    ours.f[F_ENCRYPT] = encrypt;
    ours.f[F_DECRYPT_INIT] = decrypt_init;
    ours.f[F_DECRYPT] = decrypt;
    *out = &ours;
    return 0;
}
