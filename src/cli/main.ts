/** The command-line program. */

import { Command } from 'commander';

import packageDocument from '../../package.json' with { type: 'json' };
import { wantedCommands, type Register } from './commands.ts';
import { describeFailure } from './failure.ts';

function createProgram(commands: readonly Register[]): Command {
  const program = new Command('weightgate')
    .description('publish model weights as ciphertext; decide where they may run')
    .version(packageDocument.version, '--version', 'print the version')
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      // commander's own lines look like those of our refusals (CL-1).
      outputError: (text, write) => {
        write(text.replace(/^error: /, 'weightgate: '));
      },
    })
    .showHelpAfterError('            See the command with --help.');
  for (const register of commands) register(program);
  return program;
}

try {
  const commands = await wantedCommands(process.argv[2]);
  await createProgram(commands).parseAsync(process.argv);
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
