import { describe, expect, it } from 'vitest';

import packageDocument from '../../package.json' with { type: 'json' };
import { runCommand } from '../support/command-line.ts';

describe('weightgate', () => {
  it('CL-8: prints its version', async () => {
    expect(await runCommand('--version')).toEqual({
      exitCode: 0,
      output: `${packageDocument.version}\n`,
      errors: '',
    });
  });

  it('CL-4, CL-8: prints help to standard output when asked, and to standard error when not', async () => {
    const [asked, bare] = await Promise.all([runCommand('help'), runCommand()]);
    expect(asked).toMatchObject({ exitCode: 0, errors: '' });
    expect(bare).toMatchObject({ exitCode: 2, output: '', errors: asked.output });
    for (const command of ['init', 'seal', 'verify', 'serve', 'hold', 'agent', 'doctor', 'audit', 'demo']) {
      expect(asked.output).toMatch(new RegExp(`^  ${command} `, 'm'));
    }
  });

  it('CL-3: has no option that takes a secret itself', async () => {
    const { output } = await runCommand('help', 'key');
    expect(output).toContain('create');
    for (const command of [['key', 'create'], ['init'], ['serve'], ['seal'], ['agent', 'run']]) {
      const help = (await runCommand(...command, '--help')).output;
      expect(help).toContain('--passphrase-file <file>');
      expect(help).not.toMatch(/--(?:passphrase|password|secret|api-key)(?!-file)/);
    }
  });
});
