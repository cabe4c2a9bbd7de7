/* Many instances train at once, since one small network leaves most of a device idle. Those on path
 * 2 whose networks have one shape form a team: an instance of several networks, in whose memory
 * they lie side by side, so that one launch of each kernel is for all of them. For a run of up to
 * 64 steps the team borrows what its members are (parameters, means), then gives it back:
 * between two calls every instance is as if it had trained alone, and any others may come together
 * next time. All others train on their own lanes, and the teams of several devices on theirs, all
 * at the same time. Nothing is summed over networks and no sum depends on how many there are, so
 * that a network's bits do not either. Above: backend_cuda.cu. Below: batch.cu does the steps, of a
 * team as of an instance. */
#include <string.h>

#include "cuda/check.h"
#include "cuda/devices.h"
#include "cuda/fused.h"
#include "cuda/instance.h"
#include "cuda/walk.h"

/* More do not make a device busier. */
enum { MOST_TOGETHER = 32 };

/* The turns of one call, and who does the launches for each: a crew is a team, or an instance. */
typedef struct party {
    int n_turns, n_crews;
    kd_turn turns[KD_MOST_TURNS]; /* of the present run */
    int crew[KD_MOST_TURNS];      /* of each turn */
    int first[KD_MOST_TURNS];     /* turn of each crew: the leader's */
    kd_cuda_instance *crews[KD_MOST_TURNS];
} party;

static kd_cuda_instance *member_of(const kd_turn *turn)
{
    return (kd_cuda_instance *)turn->state;
}

/* ---- who goes with whom ---- */

static bool fit_together(const kd_turn *a, const kd_turn *b)
{
    const kd_cuda_instance *one = member_of(a), *other = member_of(b);
    return one->device == other->device && one->d_packed != NULL && other->d_packed != NULL &&
           a->n == b->n && one->config.max_batch == other->config.max_batch &&
           one->config.optimizer == other->config.optimizer &&
           one->config.precision == other->config.precision &&
           kd_cuda_is_same(&one->net, &other->net);
}

static void form_crews(party *p, bool teams)
{
    p->n_crews = 0;
    for (int i = 0; i < p->n_turns; i++) {
        int c = teams ? 0 : p->n_crews;
        while (c < p->n_crews && !fit_together(&p->turns[p->first[c]], &p->turns[i])) {
            c++;
        }
        if (c == p->n_crews) p->first[p->n_crews++] = i;
        p->crew[i] = c;
    }
}

/* The turns of crew c. Returns how many. */
static int list_turns(const party *p, int c, const kd_turn *turns[KD_MOST_TURNS])
{
    int n = 0;
    for (int i = 0; i < p->n_turns; i++) {
        if (p->crew[i] == c) turns[n++] = &p->turns[i];
    }
    return n;
}

/* Bytes of n networks' training on the device, without their supplies. */
static size_t training_size(const kd_net *net, const kd_backend_config *config, size_t n)
{
    const bool fused = kd_cuda_goes_fused(net, config);
    const kd_cuda_use use = {net, fused, (int)n, config->max_batch};
    kd_cuda_desk desk;
    kd_cuda_muon_plan plan;
    kd_cuda_layout_desk(&use, NULL, &desk);
    kd_cuda_muon_plan_make(net, &plan);
    return KD_CUDA_LANE_WORKSPACE + desk.size +
           n * ((4 * net->n_params + plan.n_scratch) * sizeof(float) +
                (fused ? kd_fused_packed_size(net) : 0));
}

static size_t free_memory(void)
{
    size_t free_size = 0, total_size = 0;
    if (cudaMemGetInfo(&free_size, &total_size) == cudaSuccess) return free_size;
    (void)cudaGetLastError();
    return 0;
}

/* On the config's device: each for itself and once more in its team; half of the memory is for
 * supplies. */
static size_t count_on_device(const kd_net *net, const kd_backend_config *config)
{
    int device;
    if (kd_cuda_devices_pick(config->devices, config->turn, &device, NULL) != KDINR_OK ||
        kd_cuda_enter(device, NULL) != KDINR_OK) {
        return 1;
    }
    const size_t most = free_memory() / (4 * training_size(net, config, 1));
    return most < 1 ? 1 : most > MOST_TOGETHER ? (size_t)MOST_TOGETHER : most;
}

/* Turns go round: all have as many as the one with least room. */
size_t kd_cuda_together_count(const kd_net *net, const kd_backend_config *config)
{
    const int n_devices = kd_cuda_devices_count(config->devices);
    kd_backend_config on_one = *config;
    size_t least = MOST_TOGETHER;
    for (on_one.turn = 0; on_one.turn < (unsigned)n_devices; on_one.turn++) {
        const size_t most = count_on_device(net, &on_one);
        if (most < least) least = most;
    }
    const size_t all = least * (size_t)(n_devices < 1 ? 1 : n_devices);
    return all < KD_MOST_TURNS ? all : (size_t)KD_MOST_TURNS;
}

/* The graph knows the networks that answer for a supply, but nothing else of it. */
static void adopt_supplies(kd_cuda_instance *team, const kd_turn *const *turns)
{
    for (int i = 0; i < team->n_networks; i++) {
        const kd_cuda_supply *theirs = member_of(turns[i])->supplies;
        if (memcmp(&team->supplies[i], theirs, sizeof *theirs) == 0) continue;
        memcpy(&team->supplies[i], theirs, sizeof *theirs);
        kd_cuda_batch_forget(team);
    }
}

static void leave_team(kd_cuda_instance *leader)
{
    kd_cuda_close(leader->team);
    leader->team = NULL;
}

/* The leader's team for these turns: that of the call before, if as many came. Without room for it
 * there is none. */
static kdinr_status find_team(const kd_turn *const *turns, int n, kdinr_error *error)
{
    kd_cuda_instance *leader = member_of(turns[0]);
    KD_TRY(kd_cuda_enter(leader->device, error));
    if (leader->team != NULL && leader->team->n_networks != n) leave_team(leader);
    if (leader->team == NULL) {
        if (training_size(&leader->net, &leader->config, (size_t)n) > free_memory())
            return KDINR_OK;
        KD_TRY(
            kd_cuda_open(&leader->net, &leader->config, leader->device, n, &leader->team, error));
    }
    adopt_supplies(leader->team, turns);
    return KDINR_OK;
}

static kdinr_status find_crews(party *p, kdinr_error *error)
{
    const kd_turn *turns[KD_MOST_TURNS];
    bool room = true;
    form_crews(p, true);
    for (int c = 0; c < p->n_crews && room; c++) {
        const int n = list_turns(p, c, turns);
        for (int i = n > 1; i < n; i++) {
            leave_team(member_of(turns[i]));
        }
        p->crews[c] = member_of(turns[0]);
        if (n == 1) continue;
        KD_TRY(find_team(turns, n, error));
        p->crews[c] = member_of(turns[0])->team;
        room = p->crews[c] != NULL;
    }
    if (room) return KDINR_OK;
    form_crews(p, false);
    for (int c = 0; c < p->n_crews; c++) {
        p->crews[c] = member_of(&p->turns[c]);
    }
    return KDINR_OK;
}

/* ---- borrowing ---- */

static void list_loans(const kd_cuda_instance *team, int i, const kd_cuda_instance *member,
                       kd_cuda_loan loans[KD_CUDA_LOANS])
{
    const size_t n = team->net.n_params, at = (size_t)i * n;
    const size_t size = kd_fused_packed_size(&team->net);
    const kd_cuda_loan all[KD_CUDA_LOANS] = {{member->d_params, team->d_params + at, n},
                                             {member->d_first, team->d_first + at, n},
                                             {member->d_second, team->d_second + at, n},
                                             {(float *)member->d_packed,
                                              (float *)(team->d_packed + (size_t)i * size),
                                              size / sizeof(float)}};
    memcpy(loans, all, sizeof all);
}

/* Loan y of network z, to the team or back. */
__global__ void lend_kernel(const kd_cuda_run *runs, bool back)
{
    const kd_cuda_loan loan = runs[blockIdx.z].loans[blockIdx.y];
    const float *from = back ? loan.lent : loan.own;
    float *to = back ? loan.own : loan.lent;
    for (size_t i = kd_cuda_first(); i < loan.n; i += kd_cuda_stride()) {
        to[i] = from[i];
    }
}

static kdinr_status launch_lend(const kd_cuda_instance *team, bool back, kdinr_error *error)
{
    const dim3 grid(kd_cuda_blocks(team->net.n_params), KD_CUDA_LOANS, (unsigned)team->n_networks);
    KD_LAUNCH(lend_kernel, grid, KD_CUDA_BLOCK, 0, team->lane->stream, team->desk.d_run, back);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

/* ---- one run ---- */

static kdinr_status start(const party *p, int c, size_t n_steps, kdinr_error *error)
{
    const kd_turn *turns[KD_MOST_TURNS];
    const kd_cuda_instance *self = p->crews[c];
    const int n = list_turns(p, c, turns);
    KD_TRY(kd_cuda_enter(self->device, error));
    kd_cuda_run *runs = kd_cuda_batch_fill(self, turns, n_steps);
    for (int i = 0; n > 1 && i < n; i++) {
        list_loans(self, i, member_of(turns[i]), runs[i].loans);
    }
    KD_TRY(kd_cuda_batch_send(self, error));
    return n > 1 ? launch_lend(self, false, error) : KDINR_OK;
}

/* Crews take turns step by step, so that each has work while the others are given theirs. */
static kdinr_status enqueue(const party *p, size_t n_steps, kdinr_error *error)
{
    for (int c = 0; c < p->n_crews; c++) {
        KD_TRY(start(p, c, n_steps, error));
    }
    for (size_t k = 0; k < n_steps; k++) {
        for (int c = 0; c < p->n_crews; c++) {
            KD_TRY(kd_cuda_enter(p->crews[c]->device, error));
            KD_TRY(kd_cuda_batch_go(p->crews[c], p->turns[p->first[c]].n, error));
        }
    }
    for (int c = 0; c < p->n_crews; c++) {
        KD_TRY(kd_cuda_enter(p->crews[c]->device, error));
        if (p->crews[c]->n_networks > 1) KD_TRY(launch_lend(p->crews[c], true, error));
        KD_TRY(kd_cuda_batch_fetch(p->crews[c], error));
    }
    return KDINR_OK;
}

/* Whatever failed, nothing is under way afterwards: crews work with others' memory. */
static kdinr_status wait_for_all(const party *p, kdinr_status status, kdinr_error *error)
{
    for (int c = 0; c < p->n_crews; c++) {
        (void)kd_cuda_enter(p->crews[c]->device, NULL);
        const cudaError_t code = cudaStreamSynchronize(p->crews[c]->lane->stream);
        if (code == cudaSuccess) continue;
        if (status == KDINR_OK) status = kd_cuda_fail(error, code, "cudaStreamSynchronize");
        (void)cudaGetLastError();
    }
    return status;
}

static kdinr_status train_run(const party *p, size_t n_steps, kdinr_error *error)
{
    const kd_turn *turns[KD_MOST_TURNS];
    KD_TRY(wait_for_all(p, enqueue(p, n_steps, error), error));
    for (int c = 0; c < p->n_crews; c++) {
        (void)list_turns(p, c, turns);
        kd_cuda_batch_collect(p->crews[c], turns, n_steps);
    }
    for (int i = 0; i < p->n_turns; i++) {
        member_of(&p->turns[i])->step += n_steps;
    }
    return KDINR_OK;
}

kdinr_status kd_cuda_together_train(const kd_turn *turns, size_t n_turns, size_t n_steps,
                                    kdinr_error *error)
{
    party p;
    p.n_turns = (int)n_turns;
    memcpy(p.turns, turns, n_turns * sizeof *turns);
    if (n_turns == 0) return KDINR_OK;
    KD_TRY(find_crews(&p, error));
    for (size_t done = 0; done < n_steps;) {
        const size_t left = n_steps - done;
        const size_t count = left < KD_CUDA_RUN_STEPS ? left : (size_t)KD_CUDA_RUN_STEPS;
        KD_TRY(train_run(&p, count, error));
        done += count;
        for (size_t i = 0; i < n_turns; i++) {
            p.turns[i].first += count * p.turns[i].n;
            p.turns[i].steps += count;
            p.turns[i].losses += count;
        }
    }
    return KDINR_OK;
}
