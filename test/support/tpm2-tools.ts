/** Debian's tpm2-tools, the implementation that ours is compared with. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import {
  bigEndian,
  encode,
  type Layout,
  littleEndian,
  sizedBytes,
  structure,
} from '../../attestation/core/layout.ts';
import { missingPrograms } from './programs.ts';

const missing = missingPrograms(['tpm2_quote', 'tpm2_checkquote', 'tpm2_activatecredential']);

/** Why tests with tpm2-tools cannot run here; undefined when they can. */
export const tpm2ToolsMissing = missing.length === 0 ? undefined : 'not installed: tpm2-tools';

export interface Tpm2Tools {
  /** Runs `tpm2_NAME` in the folder; rejects when it exits with another code than 0. */
  run(name: string, ...values: readonly string[]): Promise<string>;
  /** Unloads what the tools leave in a TPM without a resource manager. */
  flush(): Promise<void>;
}

/**
 * @param address TCTI text of the TPM to work on
 * @param folder where the files are that the tools read and write
 */
export function tpm2Tools(address: string, folder: string): Tpm2Tools {
  const environment = { PATH: process.env['PATH'], TPM2TOOLS_TCTI: address, TSS2_LOG: 'all+NONE' };
  const run: Tpm2Tools['run'] = async (name, ...values) => {
    const { stdout } = await promisify(execFile)(`tpm2_${name}`, values, { cwd: folder, env: environment });
    return stdout;
  };
  return {
    run,
    flush: async () => {
      for (const kind of ['--transient-object', '--loaded-session', '--saved-session']) {
        await run('flushcontext', kind);
      }
    },
  };
}

const { u16, u32 } = littleEndian;
const tpm2bBytes = sizedBytes(bigEndian.u16());

/** The file in which the tools keep a credential. */
export const credentialFile = structure({
  magic: bigEndian.u32({ oneOf: [0xbadcc0de] }),
  version: bigEndian.u32({ oneOf: [1] }),
  credentialBlob: tpm2bBytes,
  encryptedSecret: tpm2bBytes,
});

const BANKS_IN_SELECTION = 16;
const VALUES_IN_LIST = 8;
const LARGEST_DIGEST_BYTES = 64;

/**
 * The file in which the tools keep PCR values of the SHA-256 bank: the structures of the library as they stand in the
 * memory of a little-endian machine. (Release 5.4 does not take the plain values that its manual also describes.)
 *
 * @param values by PCR number, in ascending order, at most eight
 */
export function pcrFile(values: ReadonlyMap<number, Uint8Array>): Uint8Array {
  const select = [...values.keys()].reduce((bits, pcr) => bits | (1 << pcr), 0);
  const file = Buffer.alloc(4 + 8 * BANKS_IN_SELECTION + 4 + 4 + VALUES_IN_LIST * (2 + LARGEST_DIGEST_BYTES));
  const put = (layout: Layout<number>, value: number, at: number): void => {
    file.set(encode(layout, value, 'pcrs'), at);
  };
  put(u32(), 1, 0);
  put(u16(), 0x000b, 4);
  // sizeofSelect and the bitmap after it.
  put(u32(), 3 | (select << 8), 6);
  const lists = 4 + 8 * BANKS_IN_SELECTION;
  put(u32(), 1, lists);
  put(u32(), values.size, lists + 4);
  [...values.values()].forEach((value, i) => {
    const at = lists + 8 + i * (2 + LARGEST_DIGEST_BYTES);
    put(u16(), value.length, at);
    file.set(value, at + 2);
  });
  return file;
}
