/* What the fused kernels' tests put on the device: guarded arrays, networks with their batches; and
 * the reference beside them. */
#ifndef FUSED_EXPERIMENT_H
#define FUSED_EXPERIMENT_H

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
#include "check.h"

#include "nets.h"
#include "reference/reference.h"
}
#include "cuda/fused.h"

#include <cuda_runtime.h>

constexpr size_t guard_size = 256;

static inline void check_cuda(int status)
{
    if (status != (int)cudaSuccess) fail_msg("%s", cudaGetErrorString((cudaError_t)status));
}

/* n values of device memory between guards; behind values that are only read there is none, so that
 * AddressSanitizer sees who reads too far. */
template <class T> class device_array
{
  public:
    explicit device_array(size_t n, size_t behind = guard_size)
        : n_(n), behind_(behind), bytes_(guard_size + n * sizeof(T) + behind)
    {
        check_cuda(cudaMalloc((void **)&memory_, bytes_));
        check_cuda(cudaMemset(memory_, 0xff, bytes_)); /* NaN */
        check_cuda(cudaMemset(memory_, guard, guard_size));
        check_cuda(cudaMemset(memory_ + bytes_ - behind, guard, behind));
    }
    explicit device_array(const std::vector<T> &values) : device_array(values.size(), 0)
    {
        check_cuda(cudaMemcpy(get(), values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice));
    }
    device_array(const device_array &) = delete;
    device_array &operator=(const device_array &) = delete;
    ~device_array()
    {
        cudaFree(memory_);
    }
    T *get() const
    {
        return (T *)(memory_ + guard_size);
    }
    /* The values; the guards must be as they were. */
    std::vector<T> read() const
    {
        std::vector<unsigned char> all(bytes_);
        std::vector<T> values(n_);
        check_cuda(cudaMemcpy(all.data(), memory_, bytes_, cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < guard_size; i++) {
            assert_int_equal(all[i], guard);
            if (i < behind_) assert_int_equal(all[bytes_ - 1 - i], guard);
        }
        memcpy(values.data(), all.data() + guard_size, n_ * sizeof(T));
        return values;
    }

  private:
    static constexpr int guard = 0x5a;
    size_t n_, behind_, bytes_;
    char *memory_ = nullptr;
};

using floats = std::vector<float>;

static inline double difference(const float *a, const float *b, size_t n)
{
    double wrong = 0, whole = 0;
    for (size_t i = 0; i < n; i++) {
        const double miss = (double)a[i] - (double)b[i];
        wrong += miss * miss;
        whole += (double)b[i] * (double)b[i];
    }
    return sqrt(wrong / whole);
}

/* Networks of one shape, their batches, and all of it in device memory. */
class experiment
{
  public:
    experiment(const net_case &shape, size_t n, bool use_halves, int n_networks = 1)
        : halves(use_halves), n_(n), n_networks_(n_networks)
    {
        net_make(&shape, &net);
        assert_true(kd_fused_supports(&net));
        const size_t all = n * (size_t)n_networks;
        params.resize((size_t)n_networks * net.n_params);
        coords.resize(all * (size_t)net.n_inputs);
        targets.resize(all * (size_t)net.n_outputs);
        for (int i = 0; i < n_networks; i++) {
            net_random_params(&net, 5 * n + net.n_params + (unsigned)i, at(params, i));
        }
        random_fill(n + 1, coords.size(), coords.data());
        random_fill(n + 2, targets.size(), targets.data());
    }
    float *at(floats &values, int network) const
    {
        return values.data() + values.size() / (size_t)n_networks_ * (size_t)network;
    }

    /* values [n_networks][n][n_outputs] */
    floats forward() const
    {
        const device_array<float> d_params(params), d_coords(coords), d_values(targets.size());
        const device_array<char> d_packed(packed_size());
        kd_fused_batch batch = describe(d_params, d_coords, d_packed);
        batch.values = d_values.get();
        check_cuda(kd_fused_pack_many(&net, n_networks_, d_params.get(), d_packed.get(), nullptr));
        check_cuda(kd_fused_forward_many(&net, &batch, nullptr));
        check_cuda(cudaDeviceSynchronize());
        d_packed.read();
        assert_true(d_params.read() == params && d_coords.read() == coords);
        return d_values.read();
    }

    /* gradients [n_networks][n_params], losses [n_networks]: means */
    floats gradient(floats *losses) const
    {
        const device_array<float> d_params(params), d_coords(coords), d_targets(targets);
        const device_array<float> d_gradient(params.size()), d_losses((size_t)n_networks_);
        const device_array<char> d_packed(packed_size());
        const device_array<char> d_workspace((size_t)n_networks_ * kd_fused_workspace(&net, n_));
        kd_fused_batch batch = describe(d_params, d_coords, d_packed);
        batch.targets = d_targets.get();
        batch.gradient = d_gradient.get();
        batch.loss_sum = d_losses.get();
        batch.workspace = d_workspace.get();
        check_cuda(kd_fused_pack_many(&net, n_networks_, d_params.get(), d_packed.get(), nullptr));
        check_cuda(kd_fused_gradient_many(&net, &batch, nullptr));
        check_cuda(cudaDeviceSynchronize());
        d_packed.read();
        d_workspace.read();
        assert_true(d_params.read() == params && d_targets.read() == targets);
        *losses = d_losses.read();
        for (float &loss : *losses) {
            loss /= (float)n_ * (float)net.n_outputs;
        }
        return d_gradient.read();
    }

    kd_net net;
    bool halves;
    floats params, coords, targets;

  private:
    size_t packed_size() const
    {
        return (size_t)n_networks_ * kd_fused_packed_size(&net);
    }
    kd_fused_batch describe(const device_array<float> &d_params,
                            const device_array<float> &d_coords,
                            const device_array<char> &d_packed) const
    {
        kd_fused_batch batch = {};
        batch.n_networks = n_networks_;
        batch.n = n_;
        batch.halves = halves;
        batch.packed = d_packed.get();
        batch.params = d_params.get();
        batch.coords = d_coords.get();
        return batch;
    }
    size_t n_;
    int n_networks_;
};

/* The reference backend with a network's parameters. */
class reference
{
  public:
    reference(const kd_net *net, const float *params, size_t n) : n_(n)
    {
        const kd_backend_config config = {1, true, KDINR_OPTIMIZER_ADAM, n, KDINR_PRECISION_32, 0,
                                          0, 0};
        assert_int_equal(backend->open(net, &config, &state_, nullptr), KDINR_OK);
        assert_int_equal(backend->set_params(state_, params, nullptr), KDINR_OK);
    }
    reference(const reference &) = delete;
    reference &operator=(const reference &) = delete;
    ~reference()
    {
        backend->close(state_);
    }
    floats evaluate(const float *coords, size_t n_values) const
    {
        floats values(n_values);
        backend->evaluate(state_, coords, n_, values.data(), nullptr);
        return values;
    }
    floats gradient(const float *coords, const float *targets, size_t n_params, double *loss) const
    {
        floats gradient(n_params);
        assert_int_equal(
            backend->gradient(state_, coords, targets, n_, gradient.data(), loss, nullptr),
            KDINR_OK);
        return gradient;
    }

  private:
    const kd_backend *backend = &kd_reference_backend;
    void *state_ = nullptr;
    size_t n_;
};

#endif
