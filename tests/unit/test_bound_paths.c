/* The promise of max_error when networks answer, on random volumes: residuals that were made with
 * one backend's answers keep the bound with every other's, and with every instruction set of the
 * cpu backend. The networks have random weights, which is as far from the data as they can be.
 * (With a trained one of this size the encoder would leave it out; test_bound.c has what it keeps.)
 */
#include "random_volumes.h"

#include "bounded.h"
#include "cpu/backend_cpu.h"
#include "field.h"
#include "keep.h"
#include "kdm_samples.h"

enum { N_VOLUMES = 1000, MOST_WAYS = 8 };

/* ---- every way to compute ---- */

static kdinr_status open_path_0(const kd_net *net, const kd_backend_config *config, void **state,
                                kdinr_error *error)
{
    return kd_cpu_open(kd_cpu_path(0), net, config, state, error);
}

static kdinr_status open_path_1(const kd_net *net, const kd_backend_config *config, void **state,
                                kdinr_error *error)
{
    return kd_cpu_open(kd_cpu_path(1), net, config, state, error);
}

static kdinr_status open_path_2(const kd_net *net, const kd_backend_config *config, void **state,
                                kdinr_error *error)
{
    return kd_cpu_open(kd_cpu_path(2), net, config, state, error);
}

/* The backends that run here, the cpu one once for each instruction set. Returns how many. */
static int list_ways(kd_backend ways[MOST_WAYS])
{
    kdinr_status (*const opens[])(const kd_net *, const kd_backend_config *, void **,
                                  kdinr_error *) = {open_path_0, open_path_1, open_path_2};
    const kd_backend *const *all = kd_backend_list();
    int n = 0;

    for (int i = 0; all[i] != NULL; i++) {
        if (all[i] != &kd_cpu_backend && all[i]->available(NULL)) ways[n++] = *all[i];
    }
    for (int i = 0; kd_cpu_path(i) != NULL; i++) {
        assert_true(i < 3);
        if (!kd_cpu_path_available(i)) continue;
        ways[n] = kd_cpu_backend;
        ways[n++].open = opens[i];
    }
    return n;
}

/* ---- a model of a random volume ---- */

/* Range of the series, its missing-value maps, and the classes of each step. */
static void look_at_steps(const sample *s, kd_model *model,
                          uint8_t classes[MOST_STEPS][MOST_SAMPLES])
{
    kd_model_array *array = &model->arrays[0];
    kdinr_error error;
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    array->masks = sample_memory((size_t)s->n_steps * sizeof(kd_mask));
    array->step_masks = sample_memory((size_t)s->n_steps * sizeof(int));
    for (int t = 0; t < s->n_steps; t++) {
        double range[KD_KDM_MAX_COMPONENTS][2];
        kdinr_array step = s->array;

        step.values = s->values[t];
        array->step_masks[t] = -1;
        const kd_view view = {&step, kd_bricks_whole(samples)};

        if (kd_volume_classify(&view, &view.box, classes[t]) < s->n) {
            kd_mask *mask = &array->masks[array->n_masks];

            check_ok(kd_entropy_pack_mask(classes[t], samples, &mask->bytes, &mask->size, &error),
                     error);
            array->step_masks[t] = array->n_masks++;
        }
        kd_volume_range(&view, &view.box, classes[t], range);
        for (int c = 0; c < array->n_components; c++) {
            double *all = array->range[c];

            if (t == 0 || range[c][0] < all[0]) all[0] = range[c][0];
            if (t == 0 || range[c][1] > all[1]) all[1] = range[c][1];
        }
    }
}

/* One random network for the whole series. */
static void make_model(dice *d, const sample *s, kd_model *model,
                       uint8_t classes[MOST_STEPS][MOST_SAMPLES])
{
    const int *dims = s->volume.dims;

    sample_grid(model, dims[0], dims[1], dims[2], s->n_steps, 1);
    kd_model_array *array = &model->arrays[0];
    sample_array(array, "a", s->n_steps);
    array->type = s->array.type;
    array->n_components = s->array.n_components;
    array->association = s->array.association;
    array->has_fill = s->array.has_fill;
    array->fill_value = s->array.fill_value;
    look_at_steps(s, model, classes);
    kd_network *network = array->networks = sample_memory(sizeof(kd_network));
    sample_network(array, network, KD_NETWORK_QUANTISED, 2 + below(d, 5), 1 + below(d, 2), d->n);
    for (int c = 0; c < array->n_components; c++) {
        const bool flat = !(array->range[c][1] > array->range[c][0]);

        network->range[c][0] = (float)array->range[c][0] - (flat ? 1.0f : 0.0f);
        network->range[c][1] = (float)array->range[c][1] + (flat ? 1.0f : 0.0f);
    }
}

/* ---- there and back ---- */

/* Residuals on top of one way's answers. False if the bound leaves no room for two decoders. */
static bool keep(sample *s, kd_model *model, uint8_t classes[MOST_STEPS][MOST_SAMPLES],
                 const kd_backend *way)
{
    kd_run run = {.options = &s->options, .backend = way, .work_total = 1.0, .stage = "checking"};
    kd_way *hybrid;
    kd_field *field;
    kdinr_error error;
    kd_keep keeping;

    check_ok(kd_field_create(model, NULL, 0, way, &s->options, &field, &error), error);
    check_ok(kd_keep_open(model, 0, &s->options, &keeping, &error), error);
    hybrid = &keeping.ways[KD_KEEP_HYBRID];
    const bool tried = hybrid->tried;
    for (int t = 0; tried && t < s->n_steps; t++) {
        s->array.values = s->values[t];
        check_ok(kd_keep_step(&keeping, &s->array, classes[t], field, &run, &error), error);
    }
    if (tried) {
        model->arrays[0].has_bound = true;
        model->arrays[0].bound = hybrid->bound;
        model->arrays[0].residuals = hybrid->streams;
        hybrid->streams = NULL;
    }
    kd_keep_close(&keeping);
    kd_field_free(field);
    return tried;
}

/* Every step, by this way: present samples within the bound. */
static void check_way(const sample *s, const kd_model *model,
                      uint8_t classes[MOST_STEPS][MOST_SAMPLES], const kd_backend *way)
{
    static float answers[MOST_SAMPLES * MOST_COMPONENTS];
    static char decoded[MOST_SAMPLES * MOST_COMPONENTS * 8];
    const size_t nc = (size_t)s->array.n_components;
    kd_bounded *bounded;
    kd_field *field;
    kdinr_error error;

    check_ok(kd_field_create(model, NULL, 0, way, &s->options, &field, &error), error);
    check_ok(kd_bounded_create(model, 0, UINT64_C(1) << 30, &bounded, &error), error);
    kd_bounded_part part = {.type = s->array.type};
    memcpy(part.samples, kd_field_stored(field), sizeof part.samples);
    for (int axis = 0; axis < 3; axis++) {
        part.extent[2 * axis + 1] = part.samples[axis] - 1;
    }
    for (int t = 0; t < s->n_steps; t++) {
        part.s = t;
        check_ok(kd_field_read(field, part.samples, part.extent, t, answers, NULL, &error), error);
        check_ok(kd_bounded_read(bounded, &part, answers, decoded, &error), error);
        for (size_t i = 0; i < s->n * nc; i++) {
            const double original = kd_volume_value(s->values[t], s->array.type, i);
            const double found = kd_volume_value(decoded, s->array.type, i);
            const double bound = model->arrays[0].bound.most[i % nc];

            if (classes[t][i / nc] != KD_MISSING_NONE) continue;
            if (fabs(found - original) <= bound) continue;
            fail_msg("%s, type %d, sample %zu of step %d: %.17g became %.17g, bound %g", way->name,
                     (int)s->array.type, i, t, original, found, bound);
        }
    }
    kd_bounded_free(bounded);
    kd_field_free(field);
}

static void bound_holds_with_networks_by_every_backend_and_instruction_set(void **state)
{
    static uint8_t classes[MOST_STEPS][MOST_SAMPLES];
    kd_backend ways[MOST_WAYS];
    const int n_ways = list_ways(ways);
    sample *s = sample_memory(sizeof *s);
    dice d = {.key = 99};
    int n_kept = 0, n_drawn = 0;

    (void)state;
    for (; n_kept < N_VOLUMES; n_drawn++) {
        kd_model model;

        make_sample(&d, s);
        s->options.max_error =
            pow(10.0, -3.0 * unit(&d)) * (s->options.max_error_relative ? 0.3 : 30.0);
        make_model(&d, s, &model, classes);
        if (keep(s, &model, classes, &ways[n_kept % n_ways])) {
            n_kept++;
            for (int i = 0; i < n_ways; i++) {
                check_way(s, &model, classes, &ways[i]);
            }
        }
        kd_kdm_free(&model);
    }
    print_message("%d volumes of %d drawn, %d ways to compute\n", n_kept, n_drawn, n_ways);
    assert_true(n_ways >= 2 && n_drawn < 2 * N_VOLUMES);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_holds_with_networks_by_every_backend_and_instruction_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
