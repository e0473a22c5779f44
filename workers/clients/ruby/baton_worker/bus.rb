# frozen_string_literal: true

module BatonWorker
  # Two connections, kept up by a thread each; what happens on them is handed to the worker's one thread as a block to be called there.
  class Bus
    def initialize(worker, url, log)
      @worker, @url, @log, @over = worker, url, log, false
    end

    # Hands `&block` what comes: deliveries as `(queue, channel, info, properties, body)`. Listens to the control queue before it takes tasks.
    def consume(control, bindings, queues, prefetch, &taken)
      keep_up("consuming") do |session, down|
        listening = listen(session, control, bindings, &taken)
        waiting = queues.dup
        until down.closed? || @over || !listening.open?
          # one whose channel the broker has closed is taken again
          waiting.concat(@consumers.reject { |channel, *| channel.open? }.map(&:last))
          @consumers.select! { |channel, *| channel.open? }
          waiting.reject! { |queue| take(session, queue, prefetch, waiting, &taken) }
          down.pop_for(0.3)
        end
      end
    end

    def publish(&up)
      keep_up("publishing") do |session, down|
        channel = session.create_channel
        exchanges = %w[baton.inbox baton.fleet baton.dead].to_h { |name| [name, Bunny::Exchange.new(channel, :direct, name, no_declare: true)] }
        # The broker returns before it confirms, and both come by the thread that reads.
        exchanges.each_value { |exchange| exchange.on_return { |_info, properties, _body| tell { @worker.returned(Bus.name_of(properties)) } } }
        channel.confirm_select(->(tag, multiple, nack) { tell { @worker.confirmed(channel, tag, multiple, !nack) } })
        tell { up.call(channel, exchanges) }
        # a channel the broker has closed confirms nothing more
        down.pop_for(1.0) until down.closed? || @over || !channel.open?
      end
    end

    def self.name_of(properties) = (properties[:headers] || {})["baton-dead-id"] || properties[:message_id]

    def tell(&block) = @worker.tell(&block)

    def stop_taking
      @consumers&.each { |channel, tag, _| quietly { channel.basic_cancel(tag) } }
    end

    def close
      @over = true
      [@consuming, @publishing].compact.each { |session| quietly { session.close } }
    end

    private

    # Waits for the end of a connection; Bunny tells it of its troubles.
    class Down < Queue
      def raise(*) = close

      def pop_for(seconds)
        ends = BatonWorker.clock + seconds
        sleep 0.02 until closed? || BatonWorker.clock >= ends
      end
    end

    def keep_up(what)
      Thread.new do
        pause = 0.2
        until @over
          down = Down.new
          begin
            session = Bunny.new(@url, automatically_recover: false, recover_from_connection_close: false, session_error_handler: down, threaded: true,
                                      heartbeat: 5, logger: Logger.new(File::NULL), connection_timeout: 5, connection_name: what)
            session.start
            instance_variable_set("@#{what}", session)
            yield session, down
            pause = 0.2
          rescue Bunny::Exception, Timeout::Error, SystemCallError, IOError => e
            @log.warn("#{what}: no broker (#{e.class}), connecting again")
          end
          tell { @worker.down(what) }
          quietly { session&.transport&.close } unless @over
          sleep pause
          pause = [pause * 2, 5.0].min
        end
      end
    end

    def listen(session, control, bindings, &taken)
      channel = session.create_channel
      channel.queue_declare(control, exclusive: true, auto_delete: true)
      bindings.each { |key| channel.queue_bind(control, "baton.control", routing_key: key) }
      channel.basic_consume(control, "control", true) { |info, properties, body| tell { taken.call(nil, channel, info, properties, body) } }
      @consumers = []
      channel
    end

    # A queue that is not there yet closes the channel: a new one, after a pause.
    def take(session, queue, prefetch, waiting, &taken)
      channel = session.create_channel
      channel.basic_qos(prefetch)
      consumer = Bunny::Consumer.new(channel, queue, channel.generate_consumer_tag, false)
      consumer.on_delivery { |info, properties, body| tell { taken.call(queue, channel, info, properties, body) } }
      consumer.on_cancellation { waiting << queue }
      channel.basic_consume_with(consumer)
      @consumers << [channel, consumer.consumer_tag, queue]
    rescue Bunny::NotFound
      nil
    end

    def quietly
      yield
    rescue StandardError
      nil
    end
  end
end
