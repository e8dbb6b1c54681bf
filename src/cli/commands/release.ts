import { Option, type Command } from 'commander';
import { z } from 'zod';

import { PHASES, phaseField, type Phase } from '../../governance/fields.ts';
import type { HttpClient } from '../../platform/http-client.ts';
import { readShape } from '../../platform/shape.ts';
import { reasonArgument } from '../arguments.ts';
import { openBundleOf } from '../bundle.ts';
import {
  passphraseOption,
  print,
  profileOption,
  withServer,
  signersOption,
  statementOption,
} from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

/** What a date can say. */
const LATEST_POSIX_SECONDS = 8_640_000_000_000;

const modelSchema = z.looseObject({
  model: z.string(),
  modelVersion: z.string(),
  phase: phaseField,
  phaseSince: z.int().min(0).max(LATEST_POSIX_SECONDS),
  holds: z.array(z.looseObject({ hold: z.string(), kind: z.string(), reason: z.string() })),
});

type ModelState = z.infer<typeof modelSchema>;

async function fetchModel(client: HttpClient, manifestDigest: string): Promise<ModelState> {
  return readShape(modelSchema, await client.get(`/v1/models/${manifestDigest}`), 'model');
}

function describe({ model, modelVersion, phase, phaseSince, holds }: ModelState): readonly string[] {
  const since = new Date(phaseSince * 1000).toISOString();
  const held = holds.map(({ kind, reason, hold }) => `  held (${kind}): ${reason} [${hold}]`);
  return [`${model} ${modelVersion}: phase ${phase} since ${since}`, ...held];
}

/** `weightgate release promote|status`: the phases of a model version. */
export function registerRelease(program: Command): void {
  const release = program.command('release').description('phases of a model version');

  release
    .command('promote <bundle>')
    .description('move a model version to the next phase; needs the quorum')
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .addOption(new Option('--to <phase>', 'the next phase').choices(PHASES).makeOptionMandatory())
    .requiredOption('--reason <text>', 'why, for the log', reasonArgument)
    .addOption(passphraseOption())
    .action(async (bundlePath: string, options: SigningOptions & { to: Phase; reason: string }) => {
      const { manifest } = await openBundleOf(bundlePath, options.profile);
      await submitStatement(options, 'promotion/v1', async (client) => ({
        manifestDigest: manifest.digest,
        from: (await fetchModel(client, manifest.digest)).phase,
        to: options.to,
        reason: options.reason,
      }));
    });

  release
    .command('status <bundle>')
    .description('print the phase of a model version and what holds it')
    .addOption(profileOption())
    .action(async (bundlePath: string, options: { profile: string }) => {
      const { manifest } = await openBundleOf(bundlePath, options.profile);
      await withServer(options.profile, async (client) => {
        for (const line of describe(await fetchModel(client, manifest.digest))) print(line);
      });
    });
}
