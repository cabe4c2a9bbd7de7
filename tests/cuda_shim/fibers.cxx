/* The stand-in's scheduler: one block after the other, its threads as fibers that run in turn until
 * each waits or returns. See launch_model.h for what kernels call. A fiber is started once
 * (ucontext) and then serves block after block; to go from one to the next is a jump without a call
 * of the system, as tests do this hundreds of millions of times. This file is compiled without
 * sanitizers, which are told of every jump. */
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <ucontext.h>
#include <vector>

#include "shim.h"

#if defined(SHIM_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{

constexpr size_t stack_size = 128 << 10;
constexpr int most_threads = 1024, slot_size = 64;

/* A place where threads meet: it is passed when `generation` moves on. */
struct meeting {
    unsigned generation = 0;
    unsigned arrived = 0; /* block: how many; warp: which lanes */
    const char *what = nullptr;
    int counting = 0, counted = 0;
    unsigned char slots[2][32 * slot_size] = {};
};

/* Where a fiber goes on, or what was before the first one. */
struct resting_place {
    void *words[5];
};

struct fiber {
    resting_place place;
    bool started = false; /* is it at `place`, or in the midst of a kernel that failed? */
    std::vector<char> stack = std::vector<char>(stack_size);
    uint3 index;
    bool done;
    const meeting *waits_at; /* NULL: can run */
    unsigned waits_since;
    const char *waits_for;
};

struct block_state {
    resting_place outside;
    const char *outside_stack = nullptr;
    size_t outside_stack_size = 0;
    std::vector<fiber> fibers;
    int n_threads = 0, n_alive = 0, current = -1;
    meeting barrier;
    meeting warps[most_threads / 32];                     /* of all lanes */
    std::map<unsigned, meeting> parts[most_threads / 32]; /* of others, by mask */
    unsigned alive[most_threads / 32] = {};               /* lanes that have not returned */
    unsigned char *shared = nullptr;
    const shim_work *body = nullptr;
    bool failed = false;
    unsigned order = 0; /* 0: threads in turn; else the state of a random sequence */
};

std::mutex launching;
block_state state;
std::map<const void *, int> allowed_shared;
int n_launches[shim_most_devices] = {};

void before_switch(void **save, const char *stack, size_t size)
{
#if defined(SHIM_ADDRESS_SANITIZER)
    __sanitizer_start_switch_fiber(save, stack, size);
#else
    (void)save, (void)stack, (void)size;
#endif
}

void after_switch(void *save)
{
#if defined(SHIM_ADDRESS_SANITIZER)
    const void *stack;
    size_t size;
    __sanitizer_finish_switch_fiber(save, &stack, &size);
    if (state.outside_stack == nullptr) {
        state.outside_stack = static_cast<const char *>(stack);
        state.outside_stack_size = size;
    }
#else
    (void)save;
#endif
}

void enter(int thread)
{
    state.current = thread;
    threadIdx = state.fibers[static_cast<size_t>(thread)].index;
}

[[gnu::noinline, noreturn]] void go_to(resting_place &place)
{
    __builtin_longjmp(place.words, 1);
}

void thread_main();

[[noreturn]] void start_fiber(fiber &f)
{
    ucontext_t context;
#if defined(SHIM_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(f.stack.data(), stack_size);
#endif
    getcontext(&context);
    context.uc_stack.ss_sp = f.stack.data();
    context.uc_stack.ss_size = stack_size;
    context.uc_link = nullptr;
    makecontext(&context, thread_main, 0);
    f.started = true;
    setcontext(&context);
    std::abort();
}

[[noreturn]] void go_to(fiber &f)
{
    if (!f.started) start_fiber(f);
    go_to(f.place);
}

/* Rest at `from` until somebody comes back. */
template <class To> [[gnu::noinline]] void jump(resting_place &from, To &to)
{
    if (__builtin_setjmp(from.words) == 0) go_to(to);
}

[[noreturn]] void leave_block()
{
    before_switch(nullptr, state.outside_stack, state.outside_stack_size);
    go_to(state.outside);
}

/* The fibers are left as they are: nothing on their stacks may own memory. */
[[noreturn]] void fault(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    const int used = snprintf(text, sizeof text, "block %u: ", blockIdx.x);
    vsnprintf(text + used, sizeof text - static_cast<size_t>(used), format, arguments);
    va_end(arguments);
    state.failed = true;
    for (fiber &f : state.fibers) {
        f.started = false;
    }
    shim_set_fault(text);
    leave_block();
}

bool can_run(const fiber &f)
{
    return !f.done && (f.waits_at == nullptr || f.waits_at->generation != f.waits_since);
}

/* Where to look for the next thread. */
int next_start()
{
    if (state.order == 0) return state.current + 1;
    state.order = state.order * 1664525u + 1013904223u;
    return static_cast<int>((state.order >> 8) % static_cast<unsigned>(state.n_threads));
}

/* The next thread that can run; -1: there is none. */
int find_next()
{
    const int start = next_start();
    for (int i = 0; i < state.n_threads; i++) {
        const int candidate = (start + i) % state.n_threads;
        if (can_run(state.fibers[static_cast<size_t>(candidate)])) return candidate;
    }
    return -1;
}

/* Name the first thread that waits, and the first that waits for something else. */
[[noreturn]] void fault_deadlock()
{
    const fiber *first = nullptr, *other = nullptr;
    for (int i = 0; i < state.n_threads; i++) {
        const fiber &f = state.fibers[static_cast<size_t>(i)];
        if (f.done) continue;
        if (first == nullptr) first = &f;
        if (other == nullptr && f.waits_for != first->waits_for) other = &f;
    }
    if (other == nullptr) other = first;
    fault("nobody can go on: thread %d waits at %s, thread %d at %s",
          static_cast<int>(first - state.fibers.data()), first->waits_for,
          static_cast<int>(other - state.fibers.data()), other->waits_for);
}

void switch_to(int next)
{
    const int from = state.current;
    if (next == from) return;
    fiber &there = state.fibers[static_cast<size_t>(next)];
    void *save = nullptr;
    enter(next);
    before_switch(&save, there.stack.data(), stack_size);
    jump(state.fibers[static_cast<size_t>(from)].place, there);
    after_switch(save);
}

void wait_at(const meeting &place, unsigned since, const char *what)
{
    fiber &self = state.fibers[static_cast<size_t>(state.current)];
    self.waits_at = &place;
    self.waits_since = since;
    self.waits_for = what;
    if (place.generation == since) {
        const int next = find_next();
        if (next < 0) fault_deadlock();
        switch_to(next);
    }
    self.waits_at = nullptr;
}

void pass(meeting &place)
{
    place.arrived = 0;
    place.counted = place.counting;
    place.counting = 0;
    place.generation++;
}

/* The running fiber is done with this block; it comes back for the next one. */
void finish_thread()
{
    const int self = state.current;
    fiber &here = state.fibers[static_cast<size_t>(self)];
    void *save = nullptr;
    here.done = true;
    state.alive[self / 32] &= ~(1u << self % 32);
    state.n_alive--;
    if (state.n_alive > 0 && static_cast<int>(state.barrier.arrived) == state.n_alive) {
        pass(state.barrier);
    }
    if (state.n_alive == 0) {
        before_switch(&save, state.outside_stack, state.outside_stack_size);
        jump(here.place, state.outside);
        after_switch(save);
        return;
    }
    const int next = find_next();
    if (next < 0) fault_deadlock();
    switch_to(next);
}

void thread_main()
{
    after_switch(nullptr);
    for (;;) {
        (*state.body)();
        finish_thread();
    }
}

void prepare_threads(dim3 block)
{
    state.n_threads = static_cast<int>(block.x * block.y * block.z);
    state.n_alive = state.n_threads;
    state.barrier = meeting();
    state.fibers.resize(
        static_cast<size_t>(std::max(state.n_threads, static_cast<int>(state.fibers.size()))));
    for (int i = 0; i < state.n_threads; i++) {
        fiber &f = state.fibers[static_cast<size_t>(i)];
        const unsigned at = static_cast<unsigned>(i);
        f.index = {at % block.x, at / block.x % block.y, at / block.x / block.y};
        f.done = false;
        f.waits_at = nullptr;
        f.waits_for = "its start";
        state.alive[i / 32] = i % 32 == 0 ? 1u : state.alive[i / 32] | 1u << i % 32;
        state.warps[i / 32].arrived = 0;
        state.parts[i / 32].clear();
    }
}

void run_block(dim3 block, size_t shared_size)
{
    /* exactly as large as was asked for, so that AddressSanitizer sees what lies outside */
    void *shared = nullptr;
    if (posix_memalign(&shared, 16, std::max<size_t>(shared_size, 1)) != 0) std::abort();
    std::memset(shared, 0xff, shared_size);
    state.shared = static_cast<unsigned char *>(shared);
    prepare_threads(block);
    state.outside_stack = nullptr;
    void *save = nullptr;
    state.current = state.n_threads - 1;
    enter(find_next());
    fiber &first = state.fibers[static_cast<size_t>(state.current)];
    before_switch(&save, first.stack.data(), stack_size);
    jump(state.outside, first);
    after_switch(save);
    std::free(shared);
}

bool configuration_fits(const void *kernel, dim3 grid, dim3 block, size_t shared_size)
{
    const size_t n_threads = static_cast<size_t>(block.x) * block.y * block.z;
    const auto raised = allowed_shared.find(kernel);
    const size_t allowed =
        raised == allowed_shared.end() ? shim_shared_default : static_cast<size_t>(raised->second);
    return n_threads >= 1 && n_threads <= most_threads && grid.x >= 1 && grid.y >= 1 &&
           grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535 && shared_size <= allowed;
}

} // namespace

void shim_run(const void *kernel, dim3 grid, dim3 block, size_t shared_size, const shim_work &body)
{
    const std::lock_guard<std::mutex> lock(launching);
    if (!configuration_fits(kernel, grid, block, shared_size)) {
        shim_set_error(cudaErrorInvalidConfiguration);
        return;
    }
    state.body = &body;
    state.failed = false;
    gridDim = grid;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; z++) {
        for (unsigned y = 0; y < grid.y; y++) {
            for (unsigned x = 0; x < grid.x && !state.failed; x++) {
                blockIdx = {x, y, z};
                run_block(block, shared_size);
            }
        }
    }
}

cudaError_t shim_allow_shared(const void *kernel, int size)
{
    if (size < 0 || static_cast<size_t>(size) > shim_shared_most) {
        return shim_set_error(cudaErrorInvalidValue);
    }
    const std::lock_guard<std::mutex> lock(launching);
    allowed_shared[kernel] = size;
    return cudaSuccess;
}

void shim_count_launch(int device)
{
    const std::lock_guard<std::mutex> lock(launching);
    n_launches[device]++;
}

extern "C" int shim_device_launch_count(int device)
{
    const std::lock_guard<std::mutex> lock(launching);
    return n_launches[device];
}

extern "C" int shim_launch_count(void)
{
    int count = 0;
    for (int device = 0; device < shim_most_devices; device++) {
        count += shim_device_launch_count(device);
    }
    return count;
}

extern "C" void shim_set_order(unsigned seed)
{
    const std::lock_guard<std::mutex> lock(launching);
    state.order = seed;
}

unsigned char *shim_dynamic_shared()
{
    return state.shared;
}

int shim_lane()
{
    return state.current % 32;
}

int shim_count_block(int predicate)
{
    meeting &barrier = state.barrier;
    const unsigned since = barrier.generation;
    barrier.counting += predicate;
    barrier.arrived++;
    if (static_cast<int>(barrier.arrived) == state.n_alive) pass(barrier);
    wait_at(barrier, since, "__syncthreads");
    return barrier.counted;
}

void shim_wait_block()
{
    shim_count_block(0);
}

static void check_lanes(unsigned mask, int warp, int lane, const char *what)
{
    if ((mask >> lane & 1) == 0) {
        fault("thread %d is not in the mask of its %s", state.current, what);
    }
    const unsigned gone = mask & ~(warp * 32 < state.n_threads ? state.alive[warp] : 0);
    if (gone != 0) {
        fault("thread %d waits at %s for thread %d, which has returned", state.current, what,
              warp * 32 + __builtin_ctz(gone));
    }
}

/* Two sets of slots take turns: a lane writes into one again only after all have come to the next
 * meeting, and so have read it. */
const unsigned char *shim_exchange(unsigned mask, const char *what, const void *value, size_t size,
                                   void (*combine)(unsigned char *slots))
{
    const int lane = shim_lane(), warp = state.current / 32;
    check_lanes(mask, warp, lane, what);
    meeting &place = mask == 0xffffffffu ? state.warps[warp] : state.parts[warp][mask];
    const unsigned since = place.generation;
    if (place.arrived != 0 && place.what != what && std::strcmp(place.what, what) != 0) {
        fault("a warp's lanes meet at %s and at %s", place.what, what);
    }
    unsigned char *slots = place.slots[since & 1];
    if (size > 0) std::memcpy(slots + lane * slot_size, value, size);
    place.what = what;
    place.arrived |= 1u << lane;
    if (place.arrived == mask) {
        if (combine != nullptr) combine(slots);
        pass(place);
    }
    wait_at(place, since, what);
    return slots;
}
