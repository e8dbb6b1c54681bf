/** Which file has which command. */

import type { Command } from 'commander';

export type Register = (program: Command) => void;

/**
 * Commands in the order of the help. Only the one that is asked for is loaded: together they need every library, which
 * takes a second.
 */
export const COMMANDS: ReadonlyMap<string, () => Promise<Register>> = new Map([
  ['key', async () => (await import('./commands/key.ts')).registerKey],
  ['init', async () => (await import('./commands/init.ts')).registerInit],
  ['custody', async () => (await import('./commands/custody.ts')).registerCustody],
  ['seal', async () => (await import('./commands/seal.ts')).registerSeal],
  ['verify', async () => (await import('./commands/verify.ts')).registerVerify],
  ['bundle', async () => (await import('./commands/bundle.ts')).registerBundle],
  ['serve', async () => (await import('./commands/serve.ts')).registerServe],
  ['log', async () => (await import('./commands/log.ts')).registerLog],
  ['lab', async () => (await import('./commands/lab.ts')).registerLab],
  ['model', async () => (await import('./commands/model.ts')).registerModel],
  ['release', async () => (await import('./commands/release.ts')).registerRelease],
  ['policy', async () => (await import('./commands/policy.ts')).registerPolicy],
  ['reference', async () => (await import('./commands/reference.ts')).registerReference],
  ['hold', async () => (await import('./commands/hold.ts')).registerHold],
  ['resume', async () => (await import('./commands/hold.ts')).registerHold],
  ['statement', async () => (await import('./commands/statement.ts')).registerStatement],
  ['agent', async () => (await import('./commands/agent.ts')).registerAgent],
  ['doctor', async () => (await import('./commands/doctor.ts')).registerDoctor],
  ['evidence', async () => (await import('./commands/evidence.ts')).registerEvidence],
  ['collateral', async () => (await import('./commands/collateral.ts')).registerCollateral],
  ['conformance', async () => (await import('./commands/conformance.ts')).registerConformance],
  ['witness', async () => (await import('./commands/witness.ts')).registerWitness],
  ['audit', async () => (await import('./commands/audit.ts')).registerAudit],
  ['monitor', async () => (await import('./commands/monitor.ts')).registerMonitor],
  ['demo', async () => (await import('./commands/demo.ts')).registerDemo],
]);

/** All of them where none is named by the first argument: for the help, and for commander to say what is wrong. */
export async function wantedCommands(name: string | undefined): Promise<readonly Register[]> {
  const load = COMMANDS.get(name ?? '');
  if (load !== undefined) return [await load()];
  const all = await Promise.all([...COMMANDS.values()].map((one) => one()));
  // A file may have more than one command.
  return [...new Set(all)];
}
