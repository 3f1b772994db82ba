# frozen_string_literal: true

module PhusionPassenger
  module Rack
    # Lets a process collect garbage between requests, while others serve.
    #
    #   use PhusionPassenger::Rack::OutOfBandGc, 5                              # after every fifth request
    #   use PhusionPassenger::Rack::OutOfBandGc, strategy: :count, frequency: 5
    #   use PhusionPassenger::Rack::OutOfBandGc, strategy: :gc                  # when a major collection is near
    #   use PhusionPassenger::Rack::OutOfBandGc, strategy: :gctools_oobgc       # when the gem gctools says so
    class OutOfBandGc
      STRATEGIES = %i[count gc gctools_oobgc].freeze
      # Rack 3 wants lower case, and no other cares.
      HEADER = '!~request-oob-work'
      LIMITS = [%i[old_objects old_objects_limit], %i[oldmalloc_increase_bytes oldmalloc_increase_bytes_limit]].freeze
      NEAR = 0.8    # of a limit of the collector's

      def initialize(app, *args)
        options = args.last.is_a?(Hash) ? args.last : {}
        frequency = args.first.is_a?(Integer) ? args.first : options[:frequency]
        @app = app
        @strategy = options[:strategy] || (:count if frequency)
        raise ArgumentError, "OutOfBandGc: strategy is one of #{STRATEGIES.join(', ')}" unless STRATEGIES.include?(@strategy)
        prepare(frequency)
        collector = @strategy == :gctools_oobgc ? method(:run_gctools) : method(:collect)
        PhusionPassenger.on_event(:oob_work) { collector.call }
      end

      def call(env)
        response = @app.call(env)
        return response unless due?
        status, headers, body = response
        headers = headers.to_hash.dup if headers.frozen?
        headers[HEADER] = 'true'
        [status, headers, body]
      end

      private

      def prepare(frequency)
        if @strategy == :count
          raise ArgumentError, 'OutOfBandGc: the strategy :count wants a frequency of 1 or more' unless frequency.is_a?(Integer) && frequency > 0
          @frequency = frequency
          @requests = 0
          @lock = Mutex.new
        elsif @strategy == :gc
          @limits = LIMITS.select { |pair| pair.all? { |key| GC.stat.key?(key) } }     # not every collector tells
        elsif @strategy == :gctools_oobgc && !defined?(::GC::OOB)
          raise ArgumentError, "OutOfBandGc: the strategy :gctools_oobgc wants the gem gctools in the Gemfile, and require 'gctools/oobgc' and " \
                               'GC::OOB.setup before it in config.ru'
        end
      end

      def due?
        case @strategy
        when :count then counted?
        when :gc then near?
        else ::GC::OOB.dry_run
        end
      end

      def counted?
        @lock.synchronize { (@requests += 1) % @frequency == 0 }
      end

      # Says whether the collector is about to stop everything and look at all objects.
      def near?
        @limits.any? { |now, limit| GC.stat(now) > GC.stat(limit) * NEAR }
      end

      # An application that has switched the collector off wants it to be off again.
      def collect
        disabled = GC.enable
        GC.start
      ensure
        GC.disable if disabled
      end

      def run_gctools
        ::GC::OOB.run
      end
    end
  end
end
