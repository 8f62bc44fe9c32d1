/** Whether NATS is there right now. A client that lost its server buffers what it is given, which is of no use to a relay. */
import { Events, type NatsConnection } from 'nats';

export class Link {
  #up = true;
  readonly #nc: NatsConnection;

  /** `onUp` is called at each reconnect. */
  constructor(nc: NatsConnection, onUp: () => void) {
    this.#nc = nc;
    void this.#follow(onUp);
  }

  get isUp(): boolean {
    return this.#up && !this.#nc.isClosed() && !this.#nc.isDraining();
  }

  async #follow(onUp: () => void): Promise<void> {
    for await (const { type } of this.#nc.status()) {
      if (type === Events.Disconnect) this.#up = false;
      if (type !== Events.Reconnect) continue;
      this.#up = true;
      onUp();
    }
    this.#up = false;
  }
}
