/* The fold of a block in one pass: what `terms_of` and `Accumulator` do in numpy, operation for operation.
 *
 * numpy writes every intermediate array and reads it back: five passes for each update. Here a chunk of the sums stays
 * in a core's own cache until all updates are added to it, and what happens to one element stays in registers. The bits
 * are those of numpy because the operations, their order and their types are: so no -ffast-math, no fused multiply-add,
 * no wider registers. It knows nothing of Python, and holds nothing between calls; fedn/aggregation/kernel.py calls it.
 */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#if FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)
#error "exact sums need every operation rounded to its own type"
#endif
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian, and are read as they are"
#endif

/* One library for every x86-64: the widest registers that the machine has are chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif
#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = 8192 }; /* elements that are read of one file after the other; they stay in the second-level cache */
enum { STRIP = 512 };  /* elements that are summed over all files; their sums stay in the first-level cache */
enum { F32, BF16, F16 };
static const size_t WIDTHS[] = {4, 2, 2};
enum { ENDED = -1, FAILED = -2 }; /* a file is too short; errno says why it cannot be read */

typedef double *const *Sums; /* the anchored levels, then the plain one */

INLINE float single(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Finite values only, as no others are folded. Subnormals of 16 bits are made without those of 32. */
INLINE double value_at(int dtype, const void *values, size_t i)
{
    if (dtype == F32)
        return ((const float *)values)[i];
    uint32_t bits = ((const uint16_t *)values)[i];
    if (dtype == BF16)
        return single(bits << 16);
    uint32_t size = bits & 0x7fff;
    float value = size < 0x400 ? (float)(int32_t)size * 0x1p-24f : single((size << 13) + (112u << 23));
    return bits & 0x8000 ? -value : value;
}

/* Adds w·x to `count` sums from `at` on; see exact.py. */
INLINE void add_all(int dtype, int levels, Sums sums, size_t at, size_t count, const void *values, double weight)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++) {
        double term = weight * value_at(dtype, values, i);
        for (int level = 0; level < levels; level++) {
            double total = sums[level][at + i], moved = total + term;
            term -= moved - total;
            sums[level][at + i] = moved;
        }
        sums[levels][at + i] += term;
    }
}

/* The usual numbers of levels are constants, so that they stay in registers; more are rare, and slower. */
INLINE void add_levels(int dtype, int levels, Sums sums, size_t at, size_t count, const void *values, double weight)
{
    switch (levels) {
    case 0: add_all(dtype, 0, sums, at, count, values, weight); break;
    case 1: add_all(dtype, 1, sums, at, count, values, weight); break;
    case 2: add_all(dtype, 2, sums, at, count, values, weight); break;
    case 3: add_all(dtype, 3, sums, at, count, values, weight); break;
    default: add_all(dtype, levels, sums, at, count, values, weight);
    }
}

/* Adds the same elements of `files` files, which lie one after the other in `values`. */
WIDEST static void add(int dtype, int levels, Sums sums, size_t at, size_t count, size_t files, const char *values,
                       const double *weights)
{
    for (size_t done = 0; done < count; done += STRIP) {
        size_t part = count - done < STRIP ? count - done : STRIP;
        for (size_t f = 0; f < files; f++) {
            const char *strip = values + (f * count + done) * WIDTHS[dtype];
            switch (dtype) {
            case F32: add_levels(F32, levels, sums, at + done, part, strip, weights[f]); break;
            case BF16: add_levels(BF16, levels, sums, at + done, part, strip, weights[f]); break;
            default: add_levels(F16, levels, sums, at + done, part, strip, weights[f]);
            }
        }
    }
}

static void begin(int levels, Sums sums, size_t at, size_t count, const double *anchors)
{
    for (int level = 0; level <= levels; level++)
        for (size_t i = at; i < at + count; i++)
            sums[level][i] = level < levels ? anchors[level] : 0.0;
}

/* Limbs become totals, in the first row, and errors; returns whether any error is not zero. */
WIDEST static int sweep(int levels, Sums sums, size_t at, size_t count, const double *anchors)
{
    uint64_t any = 0;
    for (int level = levels - 1; level >= 0; level--) {
        double *high = sums[level] + at, *low = sums[level + 1] + at, anchor = anchors[level];
#pragma GCC ivdep
        for (size_t i = 0; i < count; i++) {
            double a = high[i] - anchor, b = low[i], total = a + b, of_b = total - a;
            double error = (b - of_b) + (a - (total - of_b));
            high[i] = total;
            low[i] = error;
            any |= error != 0;
        }
    }
    return any != 0;
}

/* Writes down the elements that have an error; returns how many. */
static int64_t list(int levels, Sums sums, size_t at, size_t count, int64_t *loose)
{
    int64_t found = 0;
    for (size_t i = at; i < at + count; i++) {
        int has = 0;
        for (int level = 1; level <= levels; level++)
            has |= sums[level][i] != 0;
        loose[found] = (int64_t)i;
        found += has;
    }
    return found;
}

static int read_exactly(int file, void *buffer, size_t size, int64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = pread(file, (char *)buffer + done, size - done, (off_t)(offset + (int64_t)done));
        if (count == 0)
            return ENDED;
        if (count > 0)
            done += (size_t)count;
        else if (errno != EINTR)
            return FAILED;
    }
    return 0;
}

/* Adds to `size` sums the elements that begin at offsets[f] of files[f], times weights[f]. The sums start at zero if
 * it is `first`; if `last`, they are swept in the end, and `loose` gets the elements whose sum needs more than the
 * first row. Returns how many these are, or ENDED or FAILED. `buffer` holds a chunk of every file. */
EXPORT int64_t fedn_fold(int dtype, int levels, Sums sums, const double *anchors, size_t size, int first, int last,
                         size_t count, const int *files, const int64_t *offsets, const double *weights, char *buffer,
                         int64_t *loose)
{
    int64_t found = 0;
    for (size_t at = 0; at < size; at += CHUNK) {
        size_t part = size - at < CHUNK ? size - at : CHUNK, bytes = part * WIDTHS[dtype];
        for (size_t f = 0; f < count; f++) {
            int refused = read_exactly(files[f], buffer + f * bytes, bytes, offsets[f] + (int64_t)(at * WIDTHS[dtype]));
            if (refused)
                return refused;
        }
        if (first)
            begin(levels, sums, at, part, anchors);
        add(dtype, levels, sums, at, part, count, buffer, weights);
        if (last && sweep(levels, sums, at, part, anchors))
            found += list(levels, sums, at, part, loose + found);
    }
    return found;
}

/* Bytes of a file that `fedn_fold` holds at a time. */
EXPORT int fedn_chunk(void) { return CHUNK * 4; }

/* The interface: another number for other arguments or other work. */
EXPORT int fedn_kernel(void) { return 1; }
