/** Tools of others that come from PyPI, installed for a test into a folder of its own. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const INSTALL_MILLISECONDS = 150_000;
/** Without network a test shall not wait for what cannot come. */
const PIP = [
  '-m',
  'pip',
  'install',
  '--quiet',
  '--disable-pip-version-check',
  '--retries',
  '0',
  '--timeout',
  '10',
];

const run = promisify(execFile);

export interface PythonPackages {
  /** Why they cannot be used; undefined when they can. */
  readonly missing: string | undefined;
  /** @returns exit code, and what was printed to both outputs */
  readonly python: (
    ...args: readonly string[]
  ) => Promise<{ readonly exitCode: number; readonly text: string }>;
}

/**
 * @param folder empty; whoever made it removes it
 * @param packages with exact versions
 */
export async function installPythonPackages(
  folder: string,
  packages: readonly string[],
): Promise<PythonPackages> {
  const interpreter = join(folder, 'bin', 'python');
  const python: PythonPackages['python'] = async (...args) => {
    try {
      const { stdout, stderr } = await run(interpreter, args, { timeout: INSTALL_MILLISECONDS });
      return { exitCode: 0, text: stdout + stderr };
    } catch (error) {
      const {
        code,
        stdout = '',
        stderr = '',
      } = error as { code?: unknown; stdout?: string; stderr?: string };
      return { exitCode: typeof code === 'number' ? code : -1, text: stdout + stderr };
    }
  };
  try {
    await run('python3', ['-m', 'venv', folder]);
  } catch {
    return { missing: 'no python3 with venv', python };
  }
  const { exitCode, text } = await python(...PIP, ...packages);
  const missing = exitCode === 0 ? undefined : `${packages.join(', ')} not installed: ${text.slice(-200)}`;
  return { missing, python };
}
