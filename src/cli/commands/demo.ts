import { Option, type Command } from 'commander';

import { DEMO_DEVICES, playDemo, type DemoDeviceClass } from '../demo/demo.ts';
import { withInterruption } from '../interruption.ts';

/** `weightgate demo`: the whole road, played with the commands that everybody uses. */
export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('play the whole road once: seal, attest, release, serve, refuse, audit')
    .addOption(
      new Option('--device <class>', 'what the machine proves itself by')
        .choices(DEMO_DEVICES)
        .default('tpm'),
    )
    .option('--once', 'end after the summary in place of letting the model answer on')
    .action(async ({ device, once }: { device: DemoDeviceClass; once?: true }) => {
      await withInterruption((signal) => playDemo({ device, once: once === true, signal }));
    });
}
