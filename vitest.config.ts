import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{attestation,native,policies,src,test,scripts}/**/*.test.ts'],
    pool: 'forks',
    // On two cores vitest would take one; many tests wait for other processes.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    execArgv: ['--disable-warning=ExperimentalWarning'],
    coverage: {
      provider: 'v8',
      include: ['attestation/**/*.ts', 'native/**/*.ts', 'src/**/*.ts'],
      exclude: ['**/*.test.ts'],
      reporter: ['text-summary'],
    },
  },
});
