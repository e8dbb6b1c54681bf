/** The demonstration is a test of the whole road: it fails when any of its steps does not end as it should. */

import { tmpdir } from 'node:os';

import { describe, expect, it } from 'vitest';

import { Program } from '../support/road-program.ts';
import { missingPrograms } from '../support/programs.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const LIMIT_MILLISECONDS = 15 * 60 * 1000;

/** Plays it. @returns how it ended, and the codes with which attempts were refused */
async function play(device: string) {
  const folder = await temporaryFolder();
  const environment = { PATH: process.env['PATH'], HOME: folder, TMPDIR: tmpdir(), LC_ALL: 'C.UTF-8' };
  const outcome = await new Program(['demo', '--device', device, '--once'], environment, folder).ended;
  const codes = outcome.lines.flatMap((line) => /^ {5}.*\[([a-z0-9-]+)\]$/.exec(line)?.[1] ?? []);
  return { exitCode: outcome.exitCode, codes, text: outcome.lines.join('\n') };
}

const ANY_MACHINE = ['floor-inference-policy', 'sealed-chunk-tag', 'challenge-used'];

describe('weightgate demo', () => {
  const missing = missingPrograms(['swtpm', 'swtpm_setup']);
  it.skipIf(missing.length > 0)(
    `plays the road with a TPM (missing: ${missing.join(', ') || 'nothing'})`,
    async () => {
      const { exitCode, codes, text } = await play('tpm');
      expect(text).toContain('verified: ');
      expect(text).not.toContain('lease-clock');
      const own = ['tpm-quote-signature', 'tpm-boot-image', 'tpm-boot-loader'];
      expect(new Set(codes)).toEqual(new Set([...ANY_MACHINE, ...own]));
      expect(exitCode).toBe(0);
    },
    LIMIT_MILLISECONDS,
  );

  it(
    'plays the road with an SEV-SNP guest',
    async () => {
      const { exitCode, codes, text } = await play('sev-snp');
      expect(text).toContain('on simulated sev-snp');
      const own = [
        'snp-signature',
        'snp-debug',
        'snp-measurement',
        'snp-reported-tcb-minimum',
        'snp-not-enrolled',
      ];
      expect(new Set(codes)).toEqual(new Set([...ANY_MACHINE, ...own]));
      expect(exitCode).toBe(0);
    },
    LIMIT_MILLISECONDS,
  );

  it(
    'plays the road with an SEV-SNP guest and a GPU',
    async () => {
      const { exitCode, codes, text } = await play('sev-snp+nvidia-gpu');
      expect(text).toContain('on simulated nvidia-gpu and simulated sev-snp');
      const own = ['gpu-signature', 'rim-measurement', 'gpu-driver-minimum', 'gpu-not-enrolled', 'snp-debug'];
      expect(new Set(codes)).toEqual(new Set([...ANY_MACHINE, ...own]));
      expect(exitCode).toBe(0);
    },
    LIMIT_MILLISECONDS,
  );
});
