/* Weights as numbers of a few centres: k-means (core/cluster.c), and what the container makes of it
 * (core/kdm_cluster.c). */
#include "kdm_samples.h"

#include <math.h>
#include <unistd.h>

#include "cluster.h"
#include "fuzz/repair.h"
#include "series.h"

#define PATH "test_cluster.kdm"

/* ---- k-means ---- */

static double squares(const float *values, size_t n, int bits, const float *centres,
                      const int16_t *codes)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        const double miss = (double)values[i] - (double)centres[codes[i] + (1 << bits) / 2];
        sum += miss * miss;
    }
    return sum;
}

/* Every value has the centre that is nearest, every centre is the mean of its values. */
static void cluster_is_a_fixed_point_of_lloyd(void **state)
{
    enum { N = 3000 };
    static float values[N], centres[512];
    static int16_t codes[N];
    kdinr_error error;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        values[i] = (float)(0.05 * sample_normal(4, i));
    }
    for (int bits = 1; bits <= 9; bits++) {
        const int n_centres = 1 << bits;
        double sums[512] = {0}, counts[512] = {0};

        check_ok(kd_cluster_values(values, N, (size_t)n_centres, bits, centres, codes, &error),
                 error);
        for (int i = 0; i < N; i++) {
            const int mine = codes[i] + n_centres / 2;
            const double miss = fabs((double)values[i] - (double)centres[mine]);

            assert_in_range(mine, 0, n_centres - 1);
            sums[mine] += (double)values[i];
            counts[mine] += 1.0;
            if (mine > 0) {
                assert_true(miss <= (double)values[i] - (double)centres[mine - 1] + 1e-9);
            }
            if (mine + 1 < n_centres) {
                assert_true(miss <= (double)centres[mine + 1] - (double)values[i] + 1e-9);
            }
        }
        for (int j = 0; j < n_centres; j++) {
            if (counts[j] > 0.0) check_near(centres[j], sums[j] / counts[j], 1e-7);
        }
        /* a normal distribution's best quantiser: pi sqrt(3) / 2 * variance / centres^2 */
        const double ideal = 2.72 * 0.0025 / n_centres / n_centres;
        const double mean = squares(values, N, bits, centres, codes) / N;
        print_message("%d bits: %.3g, of many values %.3g\n", bits, mean, ideal);
        assert_true(mean < 1.1 * ideal);
    }
}

static void cluster_finds_values_that_are_few(void **state)
{
    float values[64], centres[8];
    int16_t codes[64];
    kdinr_error error;

    (void)state;
    for (int i = 0; i < 64; i++) {
        values[i] = (float)(i % 3) - 1.0f;
    }
    check_ok(kd_cluster_values(values, 64, 8, 3, centres, codes, &error), error);
    check_near(squares(values, 64, 3, centres, codes), 0.0, 0.0);
    for (int j = 1; j < 8; j++) {
        assert_true(centres[j - 1] <= centres[j]);
    }
}

/* Fewer centres than the list has room for: they are in its midst. */
static void cluster_fills_a_longer_list(void **state)
{
    const float values[6] = {1.0f, 5.0f, 9.0f, 1.0f, 9.0f, 5.0f};
    const int expected[6] = {-2, -1, 0, -2, 0, -1};
    float centres[8];
    int16_t codes[6];
    kdinr_error error;

    (void)state;
    check_ok(kd_cluster_values(values, 6, 3, 3, centres, codes, &error), error);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(codes[i], expected[i]);
        check_near(centres[codes[i] + 4], values[i], 0.0);
    }
    for (int j = 0; j < 8; j++) {
        check_near(centres[j], j <= 2 ? 1.0 : j >= 4 ? 9.0 : 5.0, 0.0);
    }
}

/* ---- the container ---- */

static void clusters_are_hidden_matrices_that_pay(void **state)
{
    const kd_net_shape shape = {4, 1, 6, 1, 2, 8.0f, 30.0f, KD_FORM_EVEN};
    kd_net net;

    (void)state;
    kd_net_layout(&shape, &net); /* layers of 24, 36, 36 and 6 weights */
    for (int tensor = 0; tensor < 8; tensor++) {
        const bool hidden = tensor == 2 || tensor == 4;

        assert_int_equal(kd_kdm_clustered(&net, tensor, 1), hidden);
        assert_int_equal(kd_kdm_clustered(&net, tensor, 4), hidden); /* 512 + 144 < 1152 bits */
        assert_false(kd_kdm_clustered(&net, tensor, 5));             /* 1024 + 180 bits */
    }
}

static void clusters_come_back(void **state)
{
    kd_model model, back;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_clusters(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    assert_int_equal(repair_get(bytes + 10, 2), 4);
    check_ok(kd_kdm_save(bytes, size, PATH, &error), error);
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    check_ok(kd_kdm_load_networks(PATH, &back, &error), error);
    for (int a = 0; a < 3; a++) {
        const kd_model_array *array = &model.arrays[a];
        assert_int_equal(back.arrays[a].cluster_bits, array->cluster_bits);
        for (int w = 0; w < array->n_windows; w++) {
            float params[2][1000];
            kd_net net;

            if (array->networks[w].kind == KD_NETWORK_CONSTANT) continue;
            kd_kdm_net(array, &array->networks[w], &net);
            assert_in_range(net.n_params, 1, 1000);
            kd_kdm_params(array, &array->networks[w], params[0]);
            kd_kdm_params(&back.arrays[a], &back.arrays[a].networks[w], params[1]);
            assert_memory_equal(params[0], params[1], net.n_params * sizeof(float));
        }
    }
    free(bytes);
    kd_kdm_free(&model);
    kd_kdm_free(&back);
    assert_int_equal(unlink(PATH), 0);
}

static void check_refused(const kd_model *model, const char *text)
{
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    check_fails(kd_kdm_pack(model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT, text, error);
}

static void broken_clusters_are_not_written(void **state)
{
    kd_model model;

    (void)state;
    sample_small(&model, KD_NETWORK_CLUSTERED);
    kd_network *network = &model.arrays[0].networks[0];
    const size_t centres = 4 * 2 + 2; /* first layer, then the second one's two centres */
    network->codes[3] = 1;
    check_refused(&model, "network 0: code 3 is 1, allowed are -1 to 0");
    network->codes[3] = -2;
    check_refused(&model, "network 0: code 3 is -2");
    network->codes[3] = 0;
    network->params[centres] = 1.0f;
    check_refused(&model, "tensor 2: centre 1 is 0, after 1");
    network->params[centres] = (float)NAN;
    check_refused(&model, "network 0: number 10 is nan");
    network->params[centres] = -1.0f;
    model.arrays[0].cluster_bits = 10;
    check_refused(&model, "bits of clustered weights: 10, allowed are 1 to 9");
    model.arrays[0].cluster_bits = 0;
    check_refused(&model, "bits of clustered weights: 0, allowed are 1 to 9");
    model.arrays[0].cluster_bits = 1;
    model.pack_networks = 1;
    check_refused(&model, "network 0 has kind 4, in packs are 0 and 1");
    kd_kdm_free(&model);
    sample_small(&model, KD_NETWORK_FLOAT32);
    model.arrays[0].cluster_bits = 1;
    check_refused(&model, "bits of clustered weights: 1, allowed are 0 to 0");
    kd_kdm_free(&model);
}

static kdinr_status read_changed(uint8_t *bytes, size_t size, kdinr_error *error)
{
    kd_model model;

    repair(bytes, size);
    sample_write(PATH, bytes, size);
    kdinr_status status = kd_kdm_load_info(PATH, &model, error);
    if (status == KDINR_OK) status = kd_kdm_load_networks(PATH, &model, error);
    kd_kdm_free(&model);
    return status;
}

/* CLUS is the last section, a byte for each array. */
static void broken_clusters_are_not_read(void **state)
{
    kd_model model;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_clusters(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    check_ok(read_changed(bytes, size, &error), error);
    const uint8_t bad[4][3] = {{0, 9, 0}, {10, 9, 0}, {255, 9, 0}, {3, 9, 1}};
    for (int i = 0; i < 4; i++) {
        memcpy(bytes + size - 3, bad[i], 3);
        check_fails(read_changed(bytes, size, &error), KDINR_ERROR_FORMAT,
                    "bits of clustered weights", error);
    }
    memcpy(bytes + size - 3, (uint8_t[]){2, 9, 0},
           3); /* fewer centres: what follows is not theirs */
    check_fails(read_changed(bytes, size, &error), KDINR_ERROR_FORMAT, "", error);
    memcpy(bytes + size - 3, (uint8_t[]){3, 9, 0}, 3);
    repair_put(bytes + 10, 3, 2);
    check_fails(read_changed(bytes, size, &error), KDINR_ERROR_FORMAT,
                "section \"CLUS\" does not exist in format 1.3", error);
    free(bytes);
    kd_kdm_free(&model);
    assert_int_equal(unlink(PATH), 0);
}

/* ---- a whole series ---- */

enum { NX = 40, NY = 32, NZ = 24, N_STEPS = 8 };

static void clustered_networks_have_the_size_asked_for(void **state)
{
    const int dims[3] = {NX, NY, NZ}, bits[] = {2, 5, 9};
    float *samples = malloc(NX * NY * NZ * sizeof *samples);
    const kdinr_array array = {"t", KDINR_FLOAT32, 1, KDINR_POINTS, samples, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_error error;

    (void)state;
    for (int i = 0; i < 3; i++) {
        kdinr_options options = kdinr_options_default();
        kdinr_encoder *encoder;
        kdinr_decoder *decoder;

        options.weights = KDINR_WEIGHTS_CLUSTERED;
        options.cluster_bits = bits[i];
        options.ratio = 40;
        options.omega_first = 6;
        options.n_steps = N_STEPS;
        options.direct = true;
        options.student_samples = 2e5;
        check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
        for (int t = 0; t < 2 * N_STEPS; t++) {
            series_fill(dims, t % N_STEPS, N_STEPS, samples);
            check_ok(t < N_STEPS ? kdinr_encoder_push(encoder, &volume, t, &error)
                                 : kdinr_encoder_verify(encoder, &volume, t - N_STEPS, &error),
                     error);
        }
        check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
        kdinr_encoder_close(encoder);
        check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
        const kdinr_info *info = kdinr_decoder_info(decoder);
        print_message("%d bits: ratio %.2f, %.2f dB\n", bits[i],
                      (double)info->data_size / (double)info->file_size,
                      (double)info->arrays[0].psnr_overall);
        assert_true(info->data_size >= 40 * info->file_size);
        assert_true(info->data_size <= 43 * info->file_size);
        assert_true(info->arrays[0].psnr_overall > (bits[i] == 2 ? 10.0 : 22.0));
        kdinr_decoder_close(decoder);
    }
    free(samples);
    assert_int_equal(unlink(PATH), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cluster_is_a_fixed_point_of_lloyd),
        cmocka_unit_test(cluster_finds_values_that_are_few),
        cmocka_unit_test(cluster_fills_a_longer_list),
        cmocka_unit_test(clusters_are_hidden_matrices_that_pay),
        cmocka_unit_test(clusters_come_back),
        cmocka_unit_test(broken_clusters_are_not_written),
        cmocka_unit_test(broken_clusters_are_not_read),
        cmocka_unit_test(clustered_networks_have_the_size_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
