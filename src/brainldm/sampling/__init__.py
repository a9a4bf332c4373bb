"""From noise to a latent: a schedule, a prediction and a solver, put together by one loop.

- `schedules.Schedule`: how much signal and noise there is at each timestep.
- `predictions.PREDICTIONS`: what the network's output says about the latent and the noise in it.
- `solvers.Solver`: how to go to the next, lower level of noise.
- `loop.sample`: the three put together.

Symbols: z_t = alpha_t x0 + sigma_t epsilon, alpha_t^2 + sigma_t^2 = 1 (variance preserving), and
lambda_t = log(alpha_t / sigma_t). A step goes from t to s, where s has less noise. In these
symbols the "alpha_t" of the DDIM paper is alpha_t^2, and so is DDPM's "alpha bar".
"""
