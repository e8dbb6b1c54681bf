import { join } from 'node:path';

import { defineConfig } from 'vitest/config';

import { CheapestFirst } from './test/support/mutation/cheapest-first.ts';

/**
 * The tests that have to notice a mutation of the verifier library. Left out are those that would run for every mutant and
 * find what others find sooner: all vectors with all their mutations, the contract, browsers, TPM simulators, and programs
 * of other projects.
 */
export default defineConfig({
  test: {
    include: ['test/attestation/**/*.test.ts'],
    exclude: [
      'test/attestation/browser/**',
      'test/attestation/contract/contract.test.ts',
      'test/attestation/nvidia-gpu/vectors.test.ts',
      'test/attestation/sev-snp/launch/interop.test.ts',
      'test/attestation/tpm/{real-tpm,vectors}.test.ts',
    ],
    // The mutated copy stands elsewhere than the project, beside which the shared vectors are looked for.
    env: {
      WEIGHTGATE_VECTORS:
        process.env['WEIGHTGATE_VECTORS'] ?? join(process.env['INIT_CWD'] ?? '.', '../shared/vectors'),
    },
    setupFiles: ['./test/support/mutation/properties.ts'],
    sequence: { sequencer: CheapestFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  },
});
