/** Software TPMs for tests: made in a folder of their own below the system's temporary one, and gone afterwards. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  manufactureSoftwareTpm,
  SoftwareTpm,
  softwareTpmAnchors,
} from '../../src/agent/simulated/software-tpm.ts';
import { missingPrograms } from './programs.ts';

const missing = missingPrograms(['swtpm', 'swtpm_setup', 'swtpm_localca', 'certtool']);

/** Why tests with a software TPM cannot run here; undefined when they can. */
export const swtpmMissing = missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;

export interface TestTpm {
  readonly tpm: SoftwareTpm;
  readonly folder: string;
  /** DER certificates: root, issuer. */
  readonly anchors: readonly Uint8Array[];
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

/** A new TPM, switched on. Give `authorityFolder` to have several certified by one authority. */
export async function startTestTpm(options: { readonly authorityFolder?: string } = {}): Promise<TestTpm> {
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-swtpm-'));
  await manufactureSoftwareTpm(folder, options);
  const tpm = await SoftwareTpm.start(folder);
  const anchors = await softwareTpmAnchors(folder, options.authorityFolder);
  const remove = async (): Promise<void> => {
    await tpm.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { tpm, folder, anchors, remove };
}
