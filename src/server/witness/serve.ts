/** Runs a witness on its home. */

import { Witness } from '../../log/witness.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/logging.ts';
import { startListener, type Listener } from '../listener.ts';
import { createWitnessApp } from './app.ts';
import type { WitnessHome } from './home.ts';

/**
 * Starts a witness and takes its home over: the state is closed with it, and when starting fails.
 *
 * @throws RefusalError `home-tls`, `home-port`, `file-*`
 */
export async function startWitness(home: WitnessHome, logger: Logger, clock: Clock): Promise<Listener> {
  const { path, configuration, signer, logs, state } = home;
  const { listen, tls, name, limits } = configuration;
  const witness = new Witness({ signers: [signer], logs, state, now: () => clock.posixSeconds() });
  const app = createWitnessApp({ witness, logger, clock, requestsPerMinute: limits.requestsPerMinute });
  const options = { folder: path, tls, listen, connections: limits.connections };
  try {
    const listener = await startListener(options, app);
    logger.info({ address: listener.address, witness: name, logs: logs.length }, 'serving');
    const close = async (): Promise<void> => {
      await listener.close();
      state.close();
      logger.info('stopped');
    };
    let closing: Promise<void> | undefined;
    return { address: listener.address, close: () => (closing ??= close()) };
  } catch (error) {
    state.close();
    throw error;
  }
}
