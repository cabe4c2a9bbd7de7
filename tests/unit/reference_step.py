#!/usr/bin/env python3
"""One training step of a small network in numpy float64, written from the paper and core/kdinr.h
alone: prints tests/unit/reference_step.h, the recorded reference of test_step.c.

    python3 tests/unit/reference_step.py > tests/unit/reference_step.h
"""
import numpy as np

M, D, N_IN, BATCH = 3, 2, 3, 5
OMEGA_FIRST, OMEGA, RATE = 7.0, 30.0, 1e-3


def layers():
    widths = [(N_IN, M), (M, 2 * M), (2 * M, 4 * M)]
    widths += [(4 * M, M), (M, M), (M, 4 * M)] * D
    return widths + [(4 * M, 1)]


def unpack(flat):
    tensors, at = [], 0
    for n_in, n_out in layers():
        weights = flat[at:at + n_in * n_out].reshape(n_out, n_in)
        at += n_in * n_out
        tensors.append((weights, flat[at:at + n_out]))
        at += n_out
    return tensors, at


def loss_and_gradient(flat, x, y):
    """Mean squared error and its gradient by hand-written backpropagation."""
    tensors, n = unpack(flat)
    h, tape = x, []
    for i, (w, b) in enumerate(tensors[:-1]):
        if i >= 3 and (i - 3) % 3 == 0:
            skip = h
        omega = OMEGA_FIRST if i == 0 else OMEGA
        z = omega * (h @ w.T + b)
        tape.append((h, omega * np.cos(z)))
        h = np.sin(z)
        if i >= 3 and (i - 3) % 3 == 2:
            h = 0.5 * (skip + h)
    w, b = tensors[-1]
    error = (h @ w.T + b)[:, 0] - y
    gradient = np.zeros(n)
    views, _ = unpack(gradient)
    g_out = 2.0 * error[:, None] / len(y)
    views[-1][0][:] = g_out.T @ h
    views[-1][1][:] = g_out.sum(0)
    g = g_out @ w
    for i in reversed(range(len(tensors) - 1)):
        if i >= 3 and (i - 3) % 3 == 2:
            g_skip, g = 0.5 * g, 0.5 * g
        below, slope = tape[i]
        g_z = g * slope
        views[i][0][:] = g_z.T @ below
        views[i][1][:] = g_z.sum(0)
        g = g_z @ tensors[i][0]
        if i >= 3 and (i - 3) % 3 == 0:
            g = g + g_skip
    return float((error ** 2).mean()), gradient


def adam(flat, gradient):
    """First step: bias-corrected moments are the gradient and its square."""
    return flat - RATE * gradient / (np.abs(gradient) + 1e-8)


def muon(flat, gradient):
    """First step: hidden matrices by orthogonalised Nesterov momentum, the rest by Adam."""
    moved = adam(flat, gradient)
    new, _ = unpack(moved)
    old, _ = unpack(flat)
    grads, _ = unpack(gradient)
    for i in range(1, len(new) - 1):
        g = grads[i][0]
        buffer = 0.05 * g
        x = g + 0.95 * (buffer - g)
        x = x / (np.linalg.norm(x) + 1e-12)
        turned = x.shape[0] > x.shape[1]
        x = x.T if turned else x
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if turned else x
        rate = 0.5 * RATE
        new[i][0][:] = (1 - 0.3 * rate) * old[i][0] - rate * 0.2 * np.sqrt(max(x.shape)) * x
    return moved


def table(name, values):
    print(f"static const float {name}[] = {{")
    for i in range(0, len(values), 6):
        print("    " + ", ".join(f"{float(v):.9e}f" for v in values[i:i + 6]) + ",")
    print("};\n")


def main():
    _, n = unpack(np.zeros(10 ** 5))
    flat = np.float32(0.05 * np.sin(1.7 * np.arange(n) + 0.3)).astype(np.float64)
    x = np.float32(np.sin(0.9 * np.arange(BATCH * N_IN) + 1.0)).astype(np.float64)
    y = np.float32(np.cos(1.1 * np.arange(BATCH))).astype(np.float64)
    loss, gradient = loss_and_gradient(flat, x.reshape(BATCH, N_IN), y)
    print("/* Recorded by reference_step.py (numpy, float64); not to be edited. */")
    print("/* clang-format off */")
    print(f"enum {{ REF_M = {M}, REF_D = {D}, REF_BATCH = {BATCH}, REF_N = {n} }};")
    print(f"static const double ref_loss = {loss!r};\n")
    table("ref_params", flat)
    table("ref_coords", x)
    table("ref_targets", y)
    table("ref_gradient", gradient)
    table("ref_adam", adam(flat, gradient))
    table("ref_muon", muon(flat, gradient))


if __name__ == "__main__":
    main()
