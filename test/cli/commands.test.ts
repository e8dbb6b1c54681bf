/** The table of commands, of which only the one that is asked for is loaded. */

import { Command } from 'commander';
import { describe, expect, it } from 'vitest';

import { COMMANDS, wantedCommands } from '../../src/cli/commands.ts';

function registered(register: (program: Command) => void): readonly string[] {
  const program = new Command();
  register(program);
  return program.commands.map((command) => command.name());
}

describe('the commands', () => {
  it.each([...COMMANDS])('%s is a command of its file', async (name, load) => {
    expect(registered(await load())).toContain(name);
  });

  it('one is loaded when it is asked for, and all where no known one is', async () => {
    expect((await wantedCommands('key')).flatMap(registered)).toEqual(['key']);
    for (const other of [undefined, '--help', 'no-such-command']) {
      expect((await wantedCommands(other)).flatMap(registered)).toEqual([...COMMANDS.keys()]);
    }
  });
});
