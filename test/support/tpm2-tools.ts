/** Debian's tpm2-tools, the implementation that ours is compared with. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

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
