/** The command-line program. Each command stands in a file of its own under commands/. */

import { Command } from 'commander';

import packageDocument from '../../package.json' with { type: 'json' };
import { registerAgent } from './commands/agent.ts';
import { registerAudit } from './commands/audit.ts';
import { registerBundle } from './commands/bundle.ts';
import { registerCollateral } from './commands/collateral.ts';
import { registerConformance } from './commands/conformance.ts';
import { registerDemo } from './commands/demo.ts';
import { registerDoctor } from './commands/doctor.ts';
import { registerEvidence } from './commands/evidence.ts';
import { registerHold } from './commands/hold.ts';
import { registerInit } from './commands/init.ts';
import { registerKey } from './commands/key.ts';
import { registerLab } from './commands/lab.ts';
import { registerModel } from './commands/model.ts';
import { registerPolicy } from './commands/policy.ts';
import { registerReference } from './commands/reference.ts';
import { registerRelease } from './commands/release.ts';
import { registerSeal } from './commands/seal.ts';
import { registerServe } from './commands/serve.ts';
import { registerStatement } from './commands/statement.ts';
import { registerVerify } from './commands/verify.ts';
import { describeFailure } from './failure.ts';

const REGISTRATIONS = [
  registerKey,
  registerInit,
  registerSeal,
  registerVerify,
  registerBundle,
  registerServe,
  registerLab,
  registerModel,
  registerRelease,
  registerPolicy,
  registerReference,
  registerHold,
  registerStatement,
  registerAgent,
  registerDoctor,
  registerEvidence,
  registerCollateral,
  registerConformance,
  registerAudit,
  registerDemo,
];

function createProgram(): Command {
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
  for (const register of REGISTRATIONS) register(program);
  return program;
}

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
