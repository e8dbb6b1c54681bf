/** The ways in which this machine cannot hold a secret. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const memoryRefusals = defineRefusals('environment', {
  'memory-platform': {
    means: 'This system lacks a call that is needed to hold secrets in memory.',
    hint: 'Run on Linux 5.14 or later with glibc, with the Node.js that the set-up brings.',
  },
  'memory-unavailable': {
    means: 'The system did not give the memory that was asked for.',
    hint: 'Free memory, raise the limits of this process (ulimit -n, cgroup memory), or use a larger machine.',
  },
  'memory-swappable': {
    means: 'The engine would keep plaintext in memory that cannot be locked, and this machine swaps.',
    hint: 'Turn swap off while a model runs: swapoff -a.',
  },
  'memory-not-lockable': {
    means: 'Memory for secrets could not be locked, and this machine swaps.',
    hint: 'Raise the limit on locked memory (ulimit -l, LimitMEMLOCK=) or turn swap off (swapoff -a).',
  },
});

export const memoryUsageRefusals = defineRefusals('usage', {
  'memory-out-of-range': {
    means: 'An access lies outside of the memory that was allocated.',
    hint: 'This is a mistake in the program: report it.',
  },
  'memory-closed': {
    means: 'Memory was used after it had been overwritten and given back.',
    hint: 'This is a mistake in the program: report it.',
  },
});
